"""A run's inputs and outputs over REST, page by page and all at once, with literal requests."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from actions import ActionDefinition, action
from runs import content_views, input_list, lifecycle, results
from runs.models import RunStatus
from tests.factories import Api, Member, launch, numbers, work

pytestmark = pytest.mark.django_db


# --- /inputs --------------------------------------------------------------------------------------------------


def test_inputs_are_in_order_with_their_state(api: Api, acme: Member, picky: ActionDefinition) -> None:
    run = launch("picky", [*numbers(6), {"n": 1, "custom_data": {"b": 1, "a": 2}}, {}], by=acme, batch_size=3)
    before = api.get(f"/v1/runs/{run.uid}/inputs").json()
    work()
    shown = api.get(f"/v1/runs/{run.uid}/inputs").json()
    assert list(shown[0]) == [
        "uid", "index", "status", "input_data", "custom_data", "last_error", "output_count", "retry_count",
        "updated_at", "started_at", "finished_at", "created_at",
    ]  # fmt: skip
    assert [one["status"] for one in before] == ["QUEUED"] * 7 + ["FAILED"]
    assert [one["status"] for one in shown] == [
        "SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED", "FAILED", "SCHEDULED", "SUCCEEDED", "FAILED",
    ]  # fmt: skip
    assert [one["index"] for one in shown] == list(range(8))
    assert [one["output_count"] for one in shown] == [0, 1, 2, 0, 0, 0, 1, 0]
    assert [(one["last_error"] or {}).get("label") for one in shown] == [
        None, None, None, "ODD_ONE", "GENERIC_ERROR", None, None, "BAD_INPUT",
    ]  # fmt: skip
    assert [one["uid"] for one in shown] == [one["uid"] for one in before]
    assert len({one["uid"] for one in shown}) == 8
    assert {uuid.UUID(one["uid"]).version for one in shown} == {7}
    assert json.dumps(shown[6]["custom_data"]) == '{"b": 1, "a": 2}'
    assert shown[0]["custom_data"] is None


def test_the_inputs_of_a_batch_in_hand_are_running(api: Api, acme: Member, double: ActionDefinition) -> None:
    from runs import dispatch

    run = launch("double", numbers(4), by=acme, batch_size=2)
    assert dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    shown = api.get(f"/v1/runs/{run.uid}/inputs").json()
    assert [one["status"] for one in shown] == ["RUNNING", "RUNNING", "QUEUED", "QUEUED"]
    assert len(api.get(f"/v1/runs/{run.uid}/inputs?status=RUNNING").json()) == 2


def test_the_inputs_of_a_stopped_run_are_stopped(api: Api, acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme)
    lifecycle.move(run.pk, RunStatus.STOPPED, now=timezone.now())
    assert [one["status"] for one in api.get(f"/v1/runs/{run.uid}/inputs").json()] == ["STOPPED", "STOPPED"]


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("", list(range(8))),
        ("?status=SUCCEEDED", [0, 1, 2, 6]),
        ("?status=FAILED", [3, 4, 7]),
        ("?status=FAILED,SCHEDULED", [3, 4, 5, 7]),
        ("?status=RUNNING", []),
        ("?error_label=ODD_ONE", [3]),
        ("?error_label=ODD_ONE&error_label=BAD_INPUT", [3, 7]),
        ("?error_label=NOTHING", []),
        ("?error_label=ODD_ONE&status=SUCCEEDED", []),
        ("?error_label=GENERIC_ERROR&status=FAILED", [4]),
        ("?limit=3&offset=2", [2, 3, 4]),
        ("?status=FAILED&limit=1&offset=1", [4]),
        ("?offset=8", []),
        ("?offset=1000000", []),
    ],
)
def test_inputs_by_filter_and_page(
    api: Api, acme: Member, picky: ActionDefinition, query: str, indexes: list[int]
) -> None:
    run = launch("picky", [*numbers(6), {"n": 1}, {}], by=acme, batch_size=3)
    work()
    answer = api.get(f"/v1/runs/{run.uid}/inputs{query}")
    assert [one["index"] for one in answer.json()] == indexes


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("status=INVALID", "status"), ("status=", "status"), ("error_label=", "error_label"), ("limit=101", "limit"),
     ("limit=0", "limit"), ("sort=index", "sort"), ("cursor=x", "cursor"), ("offset=1000001", "offset"),
     ("error_label=%00", "error_label")],
)  # fmt: skip
def test_what_inputs_do_not_take(api: Api, acme: Member, double: ActionDefinition, query: str, parameter: str) -> None:
    answer = api.get(f"/v1/runs/{launch('double', numbers(1), by=acme).uid}/inputs?{query}")
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS")
    assert answer.json()["params"]["parameter"] == parameter


def test_the_headers_of_inputs(api: Api, acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(25), by=acme)
    answer = api.get(f"/v1/runs/{run.uid}/inputs")
    assert (len(answer.json()), answer.headers["X-Pagination-Limit"]) == (10, "10")
    assert answer.headers["X-Pagination-Total"] == "25"
    last = api.get(f"/v1/runs/{run.uid}/inputs?limit=10&offset=20")
    assert "X-Pagination-Next" not in last.headers
    assert last.headers["X-Pagination-Prev"].endswith("?offset=10&limit=10")
    assert last.headers["X-Pagination-Offset"] == "20"


def test_no_link_leads_to_an_input_that_the_filter_leaves_out(
    api: Api, acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the offsets a caller may send there is no link back, rather than one that counts all inputs."""
    run = launch("double", [{"n": 1}, {}] * 5, by=acme)
    monkeypatch.setattr(content_views, "MAX_OFFSET", 1)
    pages = list(api.pages(f"/v1/runs/{run.uid}/inputs?status=FAILED&limit=1"))
    assert [page.json()[0]["index"] for page in pages] == [1, 3, 5, 7, 9]
    assert ["X-Pagination-Prev" in page.headers for page in pages] == [False, True, True, False, False]


# --- /outputs -------------------------------------------------------------------------------------------------


def test_outputs_are_flat_and_in_input_order(api: Api, acme: Member, picky: ActionDefinition) -> None:
    run = launch("picky", [{"n": 2}, {"n": 3}, {"n": 0}, {"n": 1}], by=acme)
    assert api.get(f"/v1/runs/{run.uid}/outputs").json() == []
    work()
    answer = api.get(f"/v1/runs/{run.uid}/outputs")
    assert answer.json() == [2, 2, 1]
    assert (answer.headers["X-Pagination-Limit"], answer.headers["X-Pagination-Total"]) == ("100", "3")
    assert "X-Pagination-Next" not in answer.headers


def test_outputs_by_page(api: Api, acme: Member, count_up: ActionDefinition) -> None:
    run = launch("count-up", [{"n": 600}], by=acme)
    work()
    path = f"/v1/runs/{run.uid}/outputs"
    assert api.get(f"{path}?limit=500").json() == list(range(500))
    assert api.get(f"{path}?limit=3&offset=598").json() == [598, 599]
    assert api.get(f"{path}?offset=600").json() == []
    assert api.get(f"{path}?limit=501").status_code == 400
    assert api.walk(f"{path}?limit=250") == list(range(600))
    assert api.walk(f"{path}?limit=250&offset=0") == list(range(600))
    assert len(api.get(path).json()) == 100


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", "application/json", "application/json"),
        ("", "*/*", "application/json"),
        ("", "text/html", "application/json"),
        ("", "application/x-ndjson", "application/x-ndjson"),
        ("", "text/csv", "text/csv; charset=utf-8"),
        ("?format=ndjson", "*/*", "application/x-ndjson"),
        ("?format=csv", "application/json", "text/csv; charset=utf-8"),
        ("?format=json", "text/csv", "application/json"),
    ],
)
def test_the_format_follows_the_query_and_then_accept(
    api: Api, acme: Member, double: ActionDefinition, query: str, accept: str, media_type: str
) -> None:
    run = launch("double", numbers(2), by=acme)
    work()
    answer = api.get(f"/v1/runs/{run.uid}/outputs{query}", Accept=accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type)
    assert answer.streaming == (media_type != "application/json")
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    assert body in (b'[{"n":0},{"n":2}]', b'{"n":0}\n{"n":2}\n', b"input_index,n\r\n0,0\r\n1,2\r\n")


def test_errors_are_json_whatever_the_format(api: Api, acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    for path, status in [
        (f"/v1/runs/{run.uid}/outputs?format=xml", 400),
        (f"/v1/runs/{run.uid}/outputs?format=csv&limit=0", 400),
        (f"/v1/runs/{uuid.uuid4()}/outputs?format=csv", 404),
    ]:
        answer = api.get(path, Accept="text/csv")
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
        assert answer.json()["error_label"]
    nobody = Api(None).get(f"/v1/runs/{run.uid}/outputs?format=csv")
    assert (nobody.status_code, nobody.json()["error_label"]) == (401, "UNAUTHORIZED")


def test_a_page_of_large_outputs_ends_sooner(api: Api, acme: Member) -> None:
    @action("large")
    def large(input: dict) -> Iterator[str]:  # type: ignore[type-arg]
        yield from ["x" * 1_000_000] * 15

    run = launch("large", [{}, {}], by=acme)
    work()
    pages = [answer.json() for answer in api.pages(f"/v1/runs/{run.uid}/outputs?limit=500")]
    assert [len(page) for page in pages] == [16, 14]


def text_of(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


def test_csv_neutralises_formulas(api: Api, acme: Member) -> None:
    class Cells(BaseModel):
        text: str
        number: float = -1.5
        nested: dict[str, int] = {"a": 1}
        flag: bool = True
        nothing: None = None

    texts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "plain", 'q"u,o\nte', "é", "", "'=x", " =1"]

    @action("cells")
    def cells(input: dict) -> Cells:  # type: ignore[type-arg]
        return Cells(text=input["t"])

    run = launch("cells", [{"t": text} for text in texts], by=acme)
    work()
    rows = list(csv.reader(io.StringIO(text_of(api.get(f"/v1/runs/{run.uid}/outputs?format=csv")), newline="")))
    assert rows[0] == ["input_index", "text", "number", "nested", "flag", "nothing"]
    assert [row[1] for row in rows[1:]] == [f"'{text}" if text[:1] in "=+-@\t\r\n" and text else text for text in texts]
    assert rows[1] == ["0", "'=1+1", "-1.5", '{"a":1}', "true", ""]


def test_csv_without_a_schema_has_one_column(api: Api, acme: Member) -> None:
    values = [{"a": 1}, "=x", None, 3, [1]]

    @action("any")
    def any_json(input: dict):  # type: ignore[no-untyped-def, type-arg]
        return values[input["n"]]

    run = launch("any", numbers(5), by=acme)
    work()
    assert text_of(api.get(f"/v1/runs/{run.uid}/outputs?format=csv")).splitlines() == [
        "input_index,output", '0,"{""a"":1}"', "1,'=x", "2,", "3,3", "4,[1]",
    ]  # fmt: skip


# --- Pages tile the list exactly ------------------------------------------------------------------------------

SHAPES = st.fixed_dictionaries(
    {
        "inputs": st.lists(st.integers(-1, 6), min_size=1, max_size=14),
        "batch_size": st.integers(1, 15),
        "limit": st.integers(1, 9),
        "offset": st.integers(0, 16),
        "together": st.sampled_from([1, 4, 100]),
    }
)


def expected_outputs(inputs: list[int]) -> list[int]:
    return [n for n in inputs if n in (0, 1, 2, 6) for _ in range(n)]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=SHAPES)
def test_pages_of_inputs_and_outputs_tile_the_lists_exactly(
    api: Api, acme: Member, picky: ActionDefinition, shape: dict[str, Any]
) -> None:
    inputs, limit, offset = shape["inputs"], shape["limit"], shape["offset"]
    sent = [{"n": n} if n >= 0 else {} for n in inputs]
    run = launch("picky", sent, by=acme, batch_size=shape["batch_size"])
    work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(input_list, "INPUTS_READ_TOGETHER", shape["together"])
        patch.setattr(results, "OUTPUTS_FETCHED_TOGETHER", shape["together"])
        tile(api, f"/v1/runs/{run.uid}", inputs, sent, limit, offset)


def tile(api: Api, path: str, inputs: list[int], sent: list[dict[str, int]], limit: int, offset: int) -> None:
    everything = api.get(f"{path}/inputs?limit=100").json()
    assert [one["input_data"] for one in everything] == sent
    for query in ("", "&status=FAILED", "&status=SUCCEEDED,SCHEDULED", "&error_label=ODD_ONE,BAD_INPUT"):
        wanted = [one for one in everything if is_wanted(one, query)]
        pages = list(api.pages(f"{path}/inputs?limit={limit}{query}"))
        assert [one for page in pages for one in page.json()] == wanted
        assert {page.headers["X-Pagination-Total"] for page in pages} == {str(len(wanted))}
        assert [int(page.headers["X-Pagination-Offset"]) for page in pages] == [limit * n for n in range(len(pages))]
        assert api.walk(f"{path}/inputs?limit={limit}&offset=0{query}") == wanted
        by_offset = api.get(f"{path}/inputs?limit={limit}&offset={offset}{query}")
        assert by_offset.json() == wanted[offset : offset + limit]
        assert ("X-Pagination-Next" in by_offset.headers) == (offset + limit < len(wanted))

    outputs = expected_outputs(inputs)
    assert api.get(f"{path}/outputs?limit=500").json() == outputs
    assert api.walk(f"{path}/outputs?limit={limit}") == outputs
    assert api.walk(f"{path}/outputs?limit={limit}&offset=0") == outputs
    assert api.get(f"{path}/outputs?limit={limit}&offset={offset}").json() == outputs[offset : offset + limit]
    lines = text_of(api.get(f"{path}/outputs?format=ndjson")).splitlines()
    assert [json.loads(line) for line in lines] == outputs
    rows = list(csv.reader(io.StringIO(text_of(api.get(f"{path}/outputs?format=csv")), newline="")))
    assert [int(row[1]) for row in rows[1:]] == outputs
    assert [inputs[int(row[0])] for row in rows[1:]] == outputs


def is_wanted(one: dict[str, Any], query: str) -> bool:
    kind, _, values = query.removeprefix("&").partition("=")
    found = {"": "", "status": one["status"], "error_label": (one["last_error"] or {}).get("label")}[kind]
    return found in values.split(",")
