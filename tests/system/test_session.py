"""What a caller does on the first day: find an action, launch, poll, read, in every form there is."""

from __future__ import annotations

import csv
import io
import uuid

import pytest

from tests.system.installation import Client, Installation

URLS = [
    {"url": "HTTPS://Example.com:443/a/../b?utm_source=x&q=1", "custom_data": {"row": 1}},
    {"url": "http://bücher.example/"},
    {"url": "not a url at all"},
]


@pytest.fixture
def run_uid(shared: Installation) -> str:
    """A run of 230 inputs that has ended: more than any page holds."""
    run_uid = shared.launch("square", [{"number": n, "custom_data": {"n": n}} for n in range(230)], name="first")
    assert shared.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    return run_uid


def test_the_catalogue_tells_how_to_call(client: Client) -> None:
    names = [one["name"] for one in client.pages("/v1/actions?limit=3")]
    assert {"inspect-url", "square", "count-to"} <= set(names)
    assert len(names) == len(set(names))
    one = client.get("/v1/actions/square").json()
    assert one["input_schema"]["properties"]["number"]["type"] == "integer"
    assert one["output_kind"] == "single"
    assert client.get("/v1/actions/count-to").json()["output_kind"] == "many"


def test_a_real_run_from_launch_to_timeline(shared: Installation) -> None:
    client = shared.client
    answer = client.post(
        "/v1/actions/inspect-url/run/async", json={"inputs": URLS, "name": "my urls", "tags": ["a", "b"]}
    )
    assert answer.status_code == 202, answer.text
    launched = answer.json()
    run_uid = launched["run_uid"]
    assert answer.headers["Location"] == f"/v1/runs/{run_uid}"
    assert answer.headers["X-Request-Id"]
    assert (launched["execution_mode"], launched["input_count"]) == ("ASYNC", 3)

    run = shared.wait_for_end(run_uid)
    assert run["status"] == "PARTIAL_SUCCEEDED"
    assert (run["succeeded_count"], run["failed_count"], run["invalid_count"], run["input_count"]) == (2, 1, 0, 3)
    assert (run["name"], run["tags"], run["progress"]) == ("my urls", ["a", "b"], 1)
    assert run["created_at"] <= run["started_at"] <= run["finished_at"]

    timeline = client.get(f"/v1/runs/{run_uid}/timeline").json()
    assert [one["to_status"] for one in timeline] == ["CREATED", "QUEUED", "RUNNING", run["status"]]
    assert [one["from_status"] for one in timeline] == [None, "CREATED", "QUEUED", "RUNNING"]
    assert [one["actor"] for one in timeline] == ["member", "system", "system", "system"]

    inputs = client.get(f"/v1/runs/{run_uid}/inputs").json()
    assert [one["input_data"]["url"] for one in inputs] == [one["url"] for one in URLS]
    assert [one["custom_data"] for one in inputs] == [{"row": 1}, None, None]
    outputs = client.get(f"/v1/runs/{run_uid}/outputs").json()
    assert [one["url"] for one in outputs] == ["https://example.com/b?q=1", "http://xn--bcher-kva.example/"]
    assert inputs[2]["last_error"]["label"] == "NOT_ABSOLUTE"


def test_pages_follow_each_other_through_all_outputs_and_inputs(client: Client, run_uid: str) -> None:
    expected = [{"number": n, "square": n * n} for n in range(230)]
    assert client.get(f"/v1/runs/{run_uid}/outputs").json() == expected[:100]
    assert client.pages(f"/v1/runs/{run_uid}/outputs?limit=7") == expected
    assert client.pages(f"/v1/runs/{run_uid}/outputs?limit=50&offset=0") == expected
    inputs = client.pages(f"/v1/runs/{run_uid}/inputs?limit=99")
    assert [(one["index"], one["input_data"], one["custom_data"]) for one in inputs] == [
        (n, {"number": n}, {"n": n}) for n in range(230)
    ]
    assert {one["status"] for one in inputs} == {"SUCCEEDED"}
    assert len({one["uid"] for one in inputs}) == 230
    assert client.get(f"/v1/runs/{run_uid}/inputs").headers["X-Pagination-Total"] == "230"


def test_streams_hold_everything(client: Client, run_uid: str) -> None:
    assert client.outputs(run_uid) == [{"number": n, "square": n * n} for n in range(230)]
    answer = client.get(f"/v1/runs/{run_uid}/outputs?format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert rows == [["input_index", "number", "square"], *([str(n), str(n), str(n * n)] for n in range(230))]


def test_many_outputs_of_one_input_are_flattened_and_capped(shared: Installation) -> None:
    run_uid = shared.launch("count-to", [{"number": 3}, {"number": 0}, {"number": 5}], parameters={"max_results": 4})
    run = shared.wait_for_end(run_uid)
    assert (run["status"], run["output_count"]) == ("SUCCEEDED", 7)
    assert [one["number"] for one in shared.client.outputs(run_uid)] == [1, 2, 3, 1, 2, 3, 4]


def test_failed_and_invalid_inputs_stand_beside_the_others(shared: Installation) -> None:
    run_uid = shared.launch("refuse-odd", [{"number": 0}, {"number": 1}, {"number": "x"}, {"number": 2}])
    run = shared.wait_for_end(run_uid)
    assert run["status"] == "PARTIAL_SUCCEEDED"
    assert (run["succeeded_count"], run["failed_count"], run["invalid_count"]) == (2, 1, 1)
    failed = shared.client.get(f"/v1/runs/{run_uid}/inputs?status=FAILED").json()
    assert [(one["index"], one["last_error"]["label"]) for one in failed] == [(1, "ODD"), (2, "BAD_INPUT")]
    assert failed[0]["last_error"]["params"] == {"number": 1}
    assert sorted(one.index for one in shared.executions(run_uid)) == [0, 1, 3]
    rejected = shared.client.post(
        "/v1/actions/refuse-odd/async", json={"inputs": [{"number": 0}, {"number": "x"}], "on_invalid": "reject"}
    )
    assert rejected.status_code == 400
    assert [one["index"] for one in rejected.json()["params"]["inputs"]] == [1]


def test_lists_filter_and_sort(shared: Installation, run_uid: str) -> None:
    client = shared.client
    newest = client.get("/v1/runs?sort=-created_at&limit=20").json()
    assert [one["created_at"] for one in newest] == sorted((one["created_at"] for one in newest), reverse=True)
    succeeded = client.pages("/v1/runs?execution_mode=ASYNC&status=SUCCEEDED&limit=1")
    assert run_uid in [one["uid"] for one in succeeded]
    assert {one["status"] for one in succeeded} == {"SUCCEEDED"}
    assert [one["uid"] for one in client.get(f"/v1/runs?uid={run_uid}").json()] == [run_uid]


@pytest.mark.parametrize(
    ("path", "status", "label"),
    [
        ("/v1/runs/00000000-0000-7000-8000-000000000000", 404, "NOT_FOUND"),
        ("/v1/runs?status=DONE", 400, "BAD_PARAMETERS"),
        ("/v1/runs?limit=101", 400, "BAD_PARAMETERS"),
        ("/v1/runs?offset=" + "9" * 30, 400, "BAD_PARAMETERS"),
        ("/v1/runs?uid=%00", 400, "BAD_PARAMETERS"),
        ("/v1/runs?colour=red", 400, "BAD_PARAMETERS"),
    ],
)
def test_questions_that_make_no_sense(client: Client, path: str, status: int, label: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error_label"]) == (status, label)


def test_nobody_without_a_key_and_nothing_of_others(shared: Installation, run_uid: str) -> None:
    def status(key: str) -> int:
        return shared.client.get(f"/v1/runs/{run_uid}", headers={"X-API-Key": key}).status_code

    other = shared.manage("create_key", "--workspace", "Others", "--email", "eve@example.com").stdout.strip()
    reader = shared.manage(
        "create_key", "--workspace", "Tests", "--email", "bob@example.com", "--role", "USER"
    ).stdout.strip()
    assert [status(key) for key in (shared.key, reader, other, str(uuid.uuid4()), "")] == [200, 200, 404, 401, 401]
    launch = {"json": {"inputs": [{"number": 1}]}, "headers": {"X-API-Key": reader}}
    refused = shared.client.post("/v1/actions/square/async", **launch)
    assert (refused.status_code, refused.json()["error_label"]) == (403, "NO_ACCESS")
