"""What a client written for the hosted Edges v1 API does, by its guide: only its base URL and its key were changed.

The client's part is literal: the paths, headers and bodies it sends stand here as they go over the wire, and it reads
what the guide says is there.
"""

from __future__ import annotations

import pytest
import requests

from tests.system.guide import (
    INPUT,
    INPUT_ERROR,
    INPUT_OURS,
    LAUNCHED,
    LAUNCHED_OURS,
    PATIENCE_S,
    RUN,
    RUN_ERROR,
    RUN_OURS,
    Guide,
    assert_error,
    assert_is,
)

pytestmark = pytest.mark.usefixtures("shared")

# --- The session ----------------------------------------------------------------------------------------------


def test_launch_poll_page_and_match(guide: Guide) -> None:
    launched = guide.post(
        "/v1/actions/count-to/run/async",
        """
        {
          "inputs": [
            {"number": 250, "custom_data": {"crm_id": "A-1", "tags": ["vip", null], "nested": {"row": 1}}},
            {"number": 0, "custom_data": {}},
            {"number": 3}
          ],
          "parameters": {"max_results": 240},
          "identity_ids": ["81b4bf4e-4d84-4d34-a5d9-4a3c4a3c1a11"],
          "identity_mode": "direct"
        }
        """,
    )
    assert launched.status_code == 202, launched.text
    assert_is(launched.json(), LAUNCHED, LAUNCHED_OURS)
    assert launched.json()["action_name"] == "count-to"
    run_uid = launched.json()["run_uid"]
    assert launched.headers["Location"] == f"/v1/runs/{run_uid}"

    assert guide.wait(run_uid) == "SUCCEEDED"

    expected = [{"number": number} for number in (*range(1, 241), 1, 2, 3)]
    assert guide.pages(f"/v1/runs/{run_uid}/outputs") == [expected[:100], expected[100:200], expected[200:]]
    assert guide.pages(f"/v1/runs/{run_uid}/outputs?limit=200") == [expected[:200], expected[200:]]
    assert guide.pages(f"/v1/runs/{run_uid}/outputs?limit=500") == [expected]

    (inputs,) = guide.pages(f"/v1/runs/{run_uid}/inputs")
    for one in inputs:
        assert_is(one, INPUT, INPUT_OURS)
        assert (one["status"], one["last_error"]) == ("SUCCEEDED", None)
    assert [(one["input_data"], one["custom_data"], one["output_count"]) for one in inputs] == [
        ({"number": 250}, {"crm_id": "A-1", "tags": ["vip", None], "nested": {"row": 1}}, 240),
        ({"number": 0}, {}, 0),
        ({"number": 3}, None, 3),
    ]
    by_limit_and_offset = [guide.get(f"/v1/runs/{run_uid}/inputs?limit=1&offset={n}").json() for n in range(4)]
    assert by_limit_and_offset == [[inputs[0]], [inputs[1]], [inputs[2]], []]

    run = guide.get(f"/v1/runs/{run_uid}").json()
    assert_is(run, RUN, RUN_OURS)
    assert run["id"] == launched.json()["run_id"]
    assert [run[name] for name in ("workspace_uid", "user_uid", "created_at")] == [
        launched.json()[name] for name in ("workspace_uid", "user_uid", "created_at")
    ]
    assert (run["execution_mode"], run["status"], run["output_count"]) == ("ASYNC", "SUCCEEDED", 243)
    assert (run["parameters"], run["callback"], run["retry_count"]) == ({"max_results": 240}, None, 0)
    assert (run["last_error"], run["scheduled_run_uid"], run["scheduled_run_name"]) == (None, None, None)
    assert run["postponed_until"] is None
    assert run["created_at"] <= run["started_at"] <= run["finished_at"] == run["updated_at"]


def test_the_short_path_of_async(guide: Guide) -> None:
    launched = guide.post("/v1/actions/square/async", '{"inputs": [{"number": 5}]}')
    assert launched.status_code == 202, launched.text
    assert guide.wait(launched.json()["run_uid"]) == "SUCCEEDED"
    assert guide.pages(f"/v1/runs/{launched.json()['run_uid']}/outputs") == [[{"number": 5, "square": 25}]]


@pytest.mark.parametrize("path", ["/v1/actions/square/run/live", "/v1/actions/square/live"])
def test_live_answers_the_output(guide: Guide, path: str) -> None:
    answer = guide.post(
        path,
        '{"input": {"number": 12, "custom_data": {"crm_id": "A-1"}}, "parameters": {}, "identity_mode": "direct",'
        ' "identity_ids": ["81b4bf4e-4d84-4d34-a5d9-4a3c4a3c1a11"]}',
    )
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    assert answer.json() == {"number": 12, "square": 144}
    run = guide.get(f"/v1/runs/{answer.headers['X-Run-Uid']}").json()
    assert_is(run, RUN, RUN_OURS)
    assert (run["execution_mode"], run["status"], run["output_count"]) == ("LIVE", "SUCCEEDED", 1)


@pytest.mark.parametrize(
    "body",
    [
        '{"input": {"number": 2}, "parameters": {}, "identity_mode": "direct", "identity_ids": ["a", "b"]}',
        '{"input": {"number": 2}, "parameters": {}, "identity_mode": "auto"}',
        '{"input": {"number": 2}, "parameters": {}, "identity_mode": "managed"}',
        '{"input": {"number": 2}, "identity_ids": null, "identity_mode": null}',
    ],
    ids=["direct", "auto", "managed", "null"],
)
def test_live_takes_every_identity_mode(guide: Guide, body: str) -> None:
    answer = guide.post("/v1/actions/square/run/live", body)
    assert (answer.status_code, answer.json()) == (200, {"number": 2, "square": 4})


def test_live_pages_follow_the_header(guide: Guide) -> None:
    body = '{"input": {"number": 25}, "parameters": {}, "identity_mode": "auto"}'
    pages, runs = [], set()
    following: str | None = "/v1/actions/count-to/run/live?page_size=10"
    while following is not None:
        answer = guide.post(following, body)
        assert answer.status_code == 200, answer.text
        pages.append([one["number"] for one in answer.json()])
        runs.add(answer.headers["X-Run-Uid"])
        following = answer.headers.get("X-Pagination-Next")
        assert len(pages) < 10
    assert pages == [list(range(1, 11)), list(range(11, 21)), list(range(21, 26))]
    assert len(runs) == 1


# --- The list -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(guide: Guide) -> dict[str, list[str]]:
    """Return the uids of runs that have ended, by what became of them, oldest first."""
    made: dict[str, list[str]] = {"live": [], "live failed": [], "async": [], "async partly": []}
    for body, kind in (
        ('{"input": {"number": 2}}', "live"),
        ('{"input": {"number": 3}}', "live failed"),
        ('{"input": {"number": 4}}', "live"),
        ('{"input": {"number": 5}}', "live failed"),
    ):
        answer = guide.post("/v1/actions/refuse-odd/live", body)
        made[kind].append(answer.headers["X-Run-Uid"])
    for body, kind in (
        ('{"inputs": [{"number": 2}]}', "async"),
        ('{"inputs": [{"number": 2}, {"number": 3}, {"number": "x"}]}', "async partly"),
    ):
        answer = guide.post("/v1/actions/refuse-odd/async", body)
        guide.wait(answer.json()["run_uid"])
        made[kind].append(answer.json()["run_uid"])
    return made


def test_the_list_filtered_sorted_and_paged(guide: Guide, runs: dict[str, list[str]]) -> None:
    query = "status=SUCCEEDED,FAILED&action_name=refuse-odd&execution_mode=LIVE&sort=-created_at"
    listed = guide.get(f"/v1/runs?{query}&limit=3&offset=0")
    assert listed.status_code == 200
    for run in listed.json():
        assert_is(run, RUN, RUN_OURS)
        assert (run["action_name"], run["execution_mode"]) == ("refuse-odd", "LIVE")
    two, four = runs["live"]
    three, five = runs["live failed"]
    assert [run["uid"] for run in listed.json()] == [five, four, three]
    assert [run["status"] for run in listed.json()] == ["FAILED", "SUCCEEDED", "FAILED"]
    rest = guide.get(f"/v1/runs?{query}&limit=3&offset=3")
    assert [run["uid"] for run in rest.json()] == [two]
    assert "X-Pagination-Next" not in rest.headers
    following = guide.get(listed.headers["X-Pagination-Next"])
    assert following.json() == rest.json()


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("execution_mode=ASYNC&status=SUCCEEDED", ["async"]),
        ("execution_mode=ASYNC&status=PARTIAL_SUCCEEDED", ["async partly"]),
        ("execution_mode=LIVE&status=FAILED", ["live failed"]),
        ("status=FAILED&status=PARTIAL_SUCCEEDED", ["live failed", "async partly"]),
        ("status=FAILED,PARTIAL_SUCCEEDED", ["live failed", "async partly"]),
        ("status=INVALID", []),
        ("execution_mode=LIVE,ASYNC", ["live", "live failed", "async", "async partly"]),
    ],
)
def test_filters_of_the_list(guide: Guide, runs: dict[str, list[str]], query: str, kinds: list[str]) -> None:
    listed = guide.get(f"/v1/runs?action_name=refuse-odd&{query}&limit=100").json()
    assert {run["uid"] for run in listed} == {uid for kind in kinds for uid in runs[kind]}


def test_the_list_by_uid_member_and_workspace(guide: Guide, runs: dict[str, list[str]]) -> None:
    uid = runs["async"][0]
    run = guide.get(f"/v1/runs/{uid}").json()
    assert guide.get(f"/v1/runs?uid={uid}").json() == [run]
    for name in ("user_uid", "workspace_uid"):
        assert run in guide.get(f"/v1/runs?{name}={run[name]}&limit=100").json()
        assert guide.get(f"/v1/runs?{name}=3c90c3cc-0d44-4b50-8888-8dd25736052a").json() == []


@pytest.mark.parametrize("field", ["created_at", "updated_at", "status"])
def test_the_list_sorted(guide: Guide, runs: dict[str, list[str]], field: str) -> None:
    ascending = [run[field] for run in guide.get(f"/v1/runs?sort={field}&limit=100").json()]
    descending = [run[field] for run in guide.get(f"/v1/runs?sort=-{field}&limit=100").json()]
    assert ascending == sorted(ascending) == descending[::-1]


def test_the_list_is_the_newest_ten_by_default(guide: Guide, runs: dict[str, list[str]]) -> None:
    for _ in range(10):
        guide.post("/v1/actions/square/live", '{"input": {"number": 1}}')
    listed = guide.get("/v1/runs").json()
    assert len(listed) == 10
    assert listed == guide.get("/v1/runs?limit=10&offset=0&sort=-created_at").json()
    assert len(guide.get("/v1/runs?limit=20&sort=-created_at").json()) > 10


# --- Errors ---------------------------------------------------------------------------------------------------


def test_a_call_without_a_valid_key(guide: Guide) -> None:
    for headers in ({}, {"x-api-key": "not-a-key"}):
        answer = requests.get(f"{guide.base_url}/v1/runs", headers=headers, timeout=PATIENCE_S)
        assert_error(answer, 401, "UNAUTHORIZED", "access")


@pytest.mark.parametrize("name", ["x-api-key", "X-API-Key", "X-Api-Key", "X-API-KEY"])
def test_the_name_of_the_header_in_any_case(guide: Guide, name: str) -> None:
    answer = requests.get(f"{guide.base_url}/v1/runs", headers={name: guide.key}, timeout=PATIENCE_S)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("query", "named"),
    [("status=DONE", "SUCCEEDED"), ("execution_mode=SCHEDULE", "ASYNC"), ("limit=0", "100"), ("limit=101", "100"),
     ("offset=-1", "offset"), ("sort=colour", "created_at"), ("uid=1", "uid"), ("colour=red", "colour")],
)  # fmt: skip
def test_a_query_that_makes_no_sense(guide: Guide, query: str, named: str) -> None:
    error = assert_error(guide.get(f"/v1/runs?{query}"), 400, "BAD_PARAMETERS", "parameters")
    assert named in error["message"] + str(error["params"])


@pytest.mark.parametrize(
    ("path", "body", "label", "scope"),
    [
        ("/v1/actions/square/run/live", '{"input": {"number": 1}, "parameters": "x"}', "BAD_PARAMETERS", "parameters"),
        ("/v1/actions/square/run/async", '{"inputs": [{}], "parameters": []}', "BAD_PARAMETERS", "parameters"),
        ("/v1/actions/square/run/live", '{"input": {"number": "x"}}', "BAD_INPUT", "input"),
        ("/v1/actions/square/run/live", '{"inputs": [{"number": 1}]}', "BAD_INPUT", "input"),
        ("/v1/actions/square/run/async", '{"input": {"number": 1}}', "BAD_INPUT", "input"),
        ("/v1/actions/square/run/async", '{"inputs": []}', "BAD_INPUT", "input"),
        ("/v1/actions/square/run/async", '{"inputs": [', "BAD_INPUT", "input"),
    ],
)  # fmt: skip
def test_a_launch_that_makes_no_sense(guide: Guide, path: str, body: str, label: str, scope: str) -> None:
    answer = guide.post(path, body)
    assert_error(answer, 400, label, scope)
    assert "X-Run-Uid" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/v1/runs/3c90c3cc-0d44-4b50-8888-8dd25736052a", "/v1/runs/3c90c3cc-0d44-4b50-8888-8dd25736052a/status",
     "/v1/runs/3c90c3cc-0d44-4b50-8888-8dd25736052a/inputs", "/v1/runs/3c90c3cc-0d44-4b50-8888-8dd25736052a/outputs",
     "/v1/runs/not-a-uid", "/v1/nothing"],
)  # fmt: skip
def test_what_there_is_not(guide: Guide, path: str) -> None:
    assert_error(guide.get(path), 404, "NOT_FOUND", "input")


def test_an_action_that_there_is_not(guide: Guide) -> None:
    for path in ("/v1/actions/nothing/run/live", "/v1/actions/nothing/live"):
        assert_error(guide.post(path, '{"input": {}}'), 404, "NOT_FOUND", "input")
    for path in ("/v1/actions/nothing/run/async", "/v1/actions/nothing/async"):
        assert_error(guide.post(path, '{"inputs": [{}]}'), 404, "NOT_FOUND", "input")


def test_an_action_that_fails_live(guide: Guide) -> None:
    answer = guide.post("/v1/actions/refuse-odd/run/live", '{"input": {"number": 3}, "parameters": {}}')
    error = assert_error(answer, 424, "ODD", "action")
    assert (error["message"], error["params"]) == ("3 is odd", {"number": 3})
    run = guide.get(f"/v1/runs/{answer.headers['X-Run-Uid']}").json()
    assert_is(run, RUN, RUN_OURS)
    assert run["status"] == "FAILED"
    assert_is(run["last_error"], RUN_ERROR)
    assert [run["last_error"][name] for name in ("label", "error_label", "message", "params", "error_ref")] == [
        "ODD", "ODD", "3 is odd", {"number": 3}, error["error_ref"]
    ]  # fmt: skip


def test_inputs_that_fail(guide: Guide, runs: dict[str, list[str]]) -> None:
    run_uid = runs["async partly"][0]
    fine, failed, invalid = guide.get(f"/v1/runs/{run_uid}/inputs").json()
    for one in (fine, failed, invalid):
        assert_is(one, INPUT, INPUT_OURS)
    assert [one["status"] for one in (fine, failed, invalid)] == ["SUCCEEDED", "FAILED", "FAILED"]
    for one, label, scope in ((failed, "ODD", "action"), (invalid, "BAD_INPUT", "input")):
        assert_is(one["last_error"], INPUT_ERROR)
        assert [one["last_error"][name] for name in ("label", "error_label", "scope")] == [label, label, scope]
    assert invalid["input_data"] == {"number": "x"}
    assert guide.get(f"/v1/runs/{run_uid}/outputs").json() == [{"number": 2, "square": 4}]


def test_a_run_without_a_valid_input(guide: Guide) -> None:
    launched = guide.post("/v1/actions/square/run/async", '{"inputs": [{"number": "x"}, {}]}')
    assert (launched.status_code, launched.json()["status"]) == (202, "INVALID")
    run = guide.get(f"/v1/runs/{launched.json()['run_uid']}").json()
    assert_is(run, RUN, RUN_OURS)
    assert_is(run["last_error"], RUN_ERROR)
    assert run["last_error"]["label"] == "BAD_INPUT"
    for one in guide.get(f"/v1/runs/{run['uid']}/inputs").json():
        assert_is(one["last_error"], INPUT_ERROR)
        assert one["status"] == "FAILED"
