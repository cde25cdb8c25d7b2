"""Launching: what is stored, what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import OperationalError
from django.utils import timezone
from pydantic import BaseModel

from actions import ActionDefinition, action
from actions.models import Action
from runs import outbox, recovery, turns
from runs.chunks import DoneBits, unpack_lines
from runs.inputs import default_batch_size
from runs.models import Batch, BatchStatus, InputChunk, ReadyRun, Run, RunStatus, RunTransition
from statements.insertion import Beside
from tests.factories import Api, Member, counts, inputs_of, launch, numbers, outputs_of, reread, work

pytestmark = pytest.mark.django_db

PATH = "/v1/actions/double/run/async"


def rows() -> dict[str, int]:
    """Return how many rows each table of runs holds."""
    return {model.__name__: model._default_manager.count() for model in apps.get_app_config("runs").get_models()}


def refused(api: Api, body: Any, status: int, label: str, *, path: str = PATH) -> dict[str, Any]:
    """Send a launch that is refused, see that it stored nothing, and return the error."""
    before = rows()
    answer = api.post(path, body)
    assert (answer.status_code, answer.json()["error_label"]) == (status, label), answer.content
    assert rows() == before
    error = answer.json()
    assert set(error) == {"message", "error_label", "error_scope", "status_code", "params", "error_ref"}
    assert (error["status_code"], error["error_ref"]) == (status, answer.headers["X-Request-Id"])
    return error


# --- The answer, and what is stored ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/actions/double/run/async", "/v1/actions/double/async"])
def test_both_paths_store_a_run_and_answer_202(api: Api, acme: Member, double: ActionDefinition, path: str) -> None:
    answer = api.post(path, {"inputs": numbers(3)})
    assert answer.status_code == 202
    run = Run.objects.get()
    told = answer.json()
    assert answer.headers["Location"] == f"/v1/runs/{run.uid}"
    assert list(told) == [
        "run_id", "run_uid", "workspace_uid", "user_uid", "action_name", "status", "postponed_until", "created_at",
        "updated_at", "execution_mode", "input_count", "invalid_count",
    ]  # fmt: skip
    assert told["created_at"].endswith("Z")
    assert told | {"created_at": "", "updated_at": ""} == {
        "run_id": run.pk,
        "run_uid": str(run.uid),
        "workspace_uid": str(acme.workspace.uid),
        "user_uid": str(acme.user.uid),
        "action_name": "double",
        "status": "QUEUED",
        "postponed_until": None,
        "created_at": "",
        "updated_at": "",
        "execution_mode": "ASYNC",
        "input_count": 3,
        "invalid_count": 0,
    }
    assert run.uid.version == 7
    assert api.get(answer.headers["Location"]).json()["uid"] == str(run.uid)


def test_the_timeline_begins_with_who_launched(api: Api, acme: Member, double: ActionDefinition) -> None:
    api.post(PATH, {"inputs": numbers(1)})
    shown = RunTransition.objects.order_by("id").values_list("from_status", "to_status", "actor", "actor_uid")
    assert list(shown) == [
        (None, "CREATED", "member", acme.user.uid),
        ("CREATED", "QUEUED", "system", None),
    ]


def test_name_tags_and_identities(api: Api, double: ActionDefinition) -> None:
    body = {
        "inputs": numbers(1),
        "name": "n" * 255,
        "tags": ["t" * 64, "é", *(str(n) for n in range(18))],
        "identity_ids": ["a"],
        "identity_mode": "auto",
    }
    assert api.post(PATH, body).status_code == 202
    run = Run.objects.get()
    assert (run.name, run.tags) == (body["name"], body["tags"])
    assert (run.identity_ids, run.identity_mode) == (["a"], "auto")


CUSTOM = {"z": 1, "a": [1.5, 1e300, -0.0, 2**63 - 1, "é☃😀", None, True], "m": {"y": {}, "b": []}, "": "'\"\n"}


def test_custom_data_comes_back_untouched_and_never_reaches_the_action(api: Api) -> None:
    seen = []

    @action("look")
    def look(input: dict):  # type: ignore[no-untyped-def, type-arg]
        seen.append(input)
        return 1

    inputs = [{"n": 1, "custom_data": CUSTOM}, {"n": 2}, {"n": 3, "custom_data": {}}, {"custom_data": None, "n": 4}]
    uid = api.post("/v1/actions/look/async", {"inputs": inputs}).json()["run_uid"]
    work()
    shown = api.get(f"/v1/runs/{uid}/inputs").json()
    assert json.dumps([one["custom_data"] for one in shown]) == json.dumps([CUSTOM, None, {}, None])
    assert seen == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]
    assert [one["input_data"] for one in shown] == seen


def test_inputs_and_parameters_come_back_as_they_were_sent(api: Api) -> None:
    @action("look")
    def look(input: dict, *, parameters: dict):  # type: ignore[no-untyped-def, type-arg]
        return [input, parameters]

    value = {"b": CUSTOM, "a": -9223372036854775808, "😀": "\u2028", "c": 0.1}
    answer = api.post("/v1/actions/look/async", {"inputs": [value], "parameters": value})
    uid = answer.json()["run_uid"]
    assert json.dumps(api.get(f"/v1/runs/{uid}").json()["parameters"]) == json.dumps(value)
    work()
    assert json.dumps(api.get(f"/v1/runs/{uid}/inputs").json()[0]["input_data"]) == json.dumps(value)
    assert json.dumps(api.get(f"/v1/runs/{uid}/outputs").json()) == json.dumps([[value, value]])


def test_of_duplicate_keys_the_last_wins(api: Api, double: ActionDefinition) -> None:
    uid = api.post(PATH, b'{"inputs": [], "inputs": [{"n": 1, "n": 2}]}').json()["run_uid"]
    assert api.get(f"/v1/runs/{uid}/inputs").json()[0]["input_data"] == {"n": 2}


def test_inputs_are_stored_once_in_chunks_of_a_batch_each(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(25), by=acme, batch_size=10)
    batches = run.batches.order_by("first_index")
    assert list(batches.values_list("first_index", "input_count", "chunk__first_index")) == [
        (0, 10, 0),
        (10, 10, 10),
        (20, 5, 20),
    ]
    chunk = InputChunk.objects.order_by("first_index").last()
    assert chunk is not None
    assert unpack_lines(chunk.inputs) == [b'{"n":%d}' % n for n in range(20, 25)]
    assert chunk.custom_data is None
    assert run.input_set.stored_bytes == sum(len(one.inputs) for one in InputChunk.objects.all())


def test_many_chunks_are_copied_with_their_batches(acme: Member, double: ActionDefinition) -> None:
    inputs = [{"n": n, "custom_data": {"n": n}} if n % 7 else {"n": "bad"} for n in range(70)]
    run = launch("double", inputs, by=acme, batch_size=1)
    assert Batch.objects.filter(run=run).count() == 70
    for batch in Batch.objects.select_related("chunk"):
        assert batch.first_index == batch.chunk.first_index
    assert Batch.objects.filter(status=BatchStatus.DONE).count() == 10
    work()
    assert counts(run) == (60, 0, 10, 0)
    assert [one["custom_data"] for one in inputs_of(run)] == [{"n": n} if n % 7 else None for n in range(70)]


@pytest.mark.parametrize(
    ("count", "own", "concurrency", "expected"),
    [(1, None, 1, 1), (16, None, 1, 1), (17, None, 1, 2), (1_000, None, 1, 63), (100_000, None, 1, 500),
     (10, None, 8, 8), (100_000, None, 900, 500), (100_000, 1_000, 1, 1_000), (3, 50, 1, 50)],
)  # fmt: skip
def test_the_size_of_a_batch_when_the_caller_does_not_say(
    double: ActionDefinition, count: int, own: int | None, concurrency: int, expected: int
) -> None:
    definition = double.using(batch_size=own, concurrency=concurrency)
    from actions.catalogue import limits

    assert default_batch_size(count, definition, limits(definition, Action(name="double"))) == expected


def test_a_hundred_thousand_inputs_and_one_more(api: Api, double: ActionDefinition) -> None:
    body = json.dumps({"inputs": numbers(100_000)}).encode()
    answer = api.post(PATH, body)
    assert (answer.status_code, answer.json()["input_count"]) == (202, 100_000)
    assert Batch.objects.count() == 200
    error = refused(api, {"inputs": [{}] * 100_001}, 400, "BAD_INPUT")
    assert error["params"] == {"field": "inputs", "max_items": 100_000, "setting": "RUNYARD_MAX_INPUTS"}


# --- Invalid inputs and parameters ----------------------------------------------------------------------------


def test_skip_records_invalid_inputs_as_failed_and_never_executes_them(api: Api, double: ActionDefinition) -> None:
    inputs: list[Any] = [{"n": 1}, {"n": "x"}, {}, 7, None, [], {"n": 2, "custom_data": 5}, {"n": 3}]
    answer = api.post(PATH, {"inputs": inputs, "batch_size": 3})
    assert (answer.status_code, answer.json()["invalid_count"], answer.json()["status"]) == (202, 6, "QUEUED")
    run = Run.objects.get()
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (2, 0, 6, 0))
    assert outputs_of(run) == [{"n": 2}, {"n": 6}]
    shown = api.get(f"/v1/runs/{run.uid}/inputs").json()
    assert [one["status"] for one in shown] == ["SUCCEEDED", *["FAILED"] * 6, "SUCCEEDED"]
    assert [one["input_data"] for one in shown] == [{"n": 1}, {"n": "x"}, {}, 7, None, [], {"n": 2}, {"n": 3}]
    error = shown[1]["last_error"]
    assert error == {
        "label": "BAD_INPUT",
        "error_label": "BAD_INPUT",
        "message": "n: Input should be a valid integer, unable to parse string as an integer",
        "scope": "input",
        "params": {"field": "n"},
        "error_ref": shown[1]["uid"],
        "has_failed": True,
        "validation_errors": [
            {"field": "n", "reason": "Input should be a valid integer, unable to parse string as an integer"}
        ],
    }
    assert shown[3]["last_error"]["message"] == "an input is a JSON object, not a number"
    assert shown[6]["last_error"]["params"] == {"field": "custom_data"}
    assert (shown[1]["started_at"], shown[1]["finished_at"], shown[1]["retry_count"]) == (None, None, 0)


def test_a_batch_of_invalid_inputs_alone_is_done_at_once(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{}, {}, {"n": 1}], by=acme, batch_size=2)
    assert list(run.batches.order_by("first_index").values_list("status", flat=True)) == ["DONE", "READY"]
    assert DoneBits(2, run.batches.earliest("first_index").done).missing() == []


def test_reject_lists_the_invalid_inputs_and_stores_nothing(api: Api, double: ActionDefinition) -> None:
    inputs = [{"n": n} if n % 2 else {"n": None} for n in range(300)]
    error = refused(api, {"inputs": inputs, "on_invalid": "reject"}, 400, "BAD_INPUT")
    assert error["message"] == (
        "inputs[0]: n: Input should be a valid integer. 150 of 300 inputs do not fit; nothing was stored."
    )
    assert (error["params"]["invalid_count"], error["params"]["input_count"]) == (150, 300)
    assert [one["index"] for one in error["params"]["inputs"]] == list(range(0, 200, 2))
    assert error["params"]["inputs"][0]["problems"] == [{"field": "n", "reason": "Input should be a valid integer"}]


def test_reject_takes_what_is_right(api: Api, double: ActionDefinition) -> None:
    assert api.post(PATH, {"inputs": numbers(2), "on_invalid": "reject"}).status_code == 202


def test_a_run_without_a_valid_input_is_invalid(api: Api, double: ActionDefinition) -> None:
    answer = api.post(PATH, {"inputs": [{"n": "x"}, {}]})
    assert (answer.status_code, answer.json()["status"], answer.json()["invalid_count"]) == (202, "INVALID", 2)
    run = Run.objects.with_progress().get()
    assert (run.status, counts(run)) == (RunStatus.INVALID, (0, 0, 2, 0))
    assert run.last_error["label"] == "BAD_INPUT"
    assert run.last_error["message"].startswith("No input fits the action. inputs[0]: n: ")
    assert run.finished_at is not None
    assert not Batch.objects.exists()
    assert not ReadyRun.objects.exists()
    assert [one["status"] for one in inputs_of(run)] == ["FAILED", "FAILED"]
    shown = api.get(f"/v1/runs/{run.uid}").json()
    assert (shown["status"], shown["progress"], shown["started_at"]) == ("INVALID", 1.0, None)


class Options(BaseModel):
    model_config = {"extra": "forbid"}

    country: str


@pytest.fixture
def choosy() -> ActionDefinition:
    @action("choosy")
    def choosy(input: dict, *, parameters: Options) -> int:  # type: ignore[type-arg]
        return 1

    return choosy


@pytest.mark.parametrize(
    ("parameters", "field"), [({}, "country"), ({"country": 3}, "country"), ({"country": "FR", "x": 1}, "x")]
)
def test_parameters_that_do_not_fit_make_the_run_invalid(
    api: Api, choosy: ActionDefinition, parameters: dict[str, Any], field: str
) -> None:
    body = {"inputs": [{}, {}], "parameters": parameters}
    answer = api.post("/v1/actions/choosy/async", body)
    assert (answer.status_code, answer.json()["status"], answer.json()["invalid_count"]) == (202, "INVALID", 2)
    run = Run.objects.get()
    assert (run.last_error["label"], run.last_error["scope"]) == ("BAD_PARAMETERS", "parameters")
    assert field in run.last_error["message"]
    assert {one["last_error"]["label"] for one in inputs_of(run)} == {"BAD_PARAMETERS"}
    assert counts(run) == (0, 0, 2, 0)
    refused(api, body | {"on_invalid": "reject"}, 400, "BAD_PARAMETERS", path="/v1/actions/choosy/async")


def test_an_action_without_parameters_takes_none(api: Api, double: ActionDefinition) -> None:
    assert api.post(PATH, {"inputs": numbers(1), "parameters": {"x": 1}}).json()["status"] == "INVALID"
    assert api.post(PATH, {"inputs": numbers(1), "parameters": {}}).json()["status"] == "QUEUED"


@pytest.mark.parametrize("max_results", [0, -1, "3", 1.5, True, None])
def test_max_results_is_a_positive_integer(api: Api, count_up: ActionDefinition, max_results: Any) -> None:
    body = {"inputs": numbers(1), "parameters": {"max_results": max_results}}
    answer = api.post("/v1/actions/count-up/async", body)
    assert answer.json()["status"] == "INVALID"
    assert "max_results" in Run.objects.get().last_error["message"]


@pytest.mark.parametrize(("size", "fits"), [(256 * 1024, True), (256 * 1024 + 1, False)])
def test_an_input_over_its_size_is_recorded_without_its_data(acme: Member, size: int, fits: bool) -> None:
    @action("take")
    def take(input: dict) -> int:  # type: ignore[type-arg]
        return 1

    text = "x" * (size - len('{"t":""}'))
    run = launch("take", [{"t": text, "custom_data": {"k": 1}}, {}], by=acme)
    shown = inputs_of(run)[0]
    assert shown["custom_data"] == {"k": 1}
    if fits:
        assert (shown["status"], shown["input_data"]) == ("QUEUED", {"t": text})
    else:
        assert (shown["status"], shown["input_data"]) == ("FAILED", None)
        assert "262,144" in shown["last_error"]["message"]
        assert "RUNYARD_MAX_INPUT_BYTES" in shown["last_error"]["message"]


@pytest.mark.parametrize(("size", "fits"), [(4 * 1024, True), (4 * 1024 + 1, False)])
def test_custom_data_over_its_size_makes_its_input_invalid(
    acme: Member, double: ActionDefinition, size: int, fits: bool
) -> None:
    custom = {"t": "x" * (size - len('{"t":""}'))}
    run = launch("double", [{"n": 1, "custom_data": custom}, {"n": 2}], by=acme)
    assert reread(run).progress.invalid_count == (0 if fits else 1)
    if not fits:
        assert "RUNYARD_MAX_CUSTOM_DATA_BYTES" in inputs_of(run)[0]["last_error"]["message"]


def test_parameters_over_their_size_are_refused(api: Api) -> None:
    @action("take")
    def take(input: dict, *, parameters: dict) -> int:  # type: ignore[type-arg]
        return 1

    path = "/v1/actions/take/async"
    text = "x" * (256 * 1024 - len('{"t":""}'))
    assert api.post(path, {"inputs": [{}], "parameters": {"t": text}}).json()["status"] == "QUEUED"
    error = refused(api, {"inputs": [{}], "parameters": {"t": text + "x"}}, 400, "BAD_PARAMETERS", path=path)
    assert error["params"]["setting"] == "RUNYARD_MAX_PARAMETERS_BYTES"


# --- Refusals -------------------------------------------------------------------------------------------------

ONE = [{"n": 1}]

BAD_BODIES: list[tuple[Any, str, str]] = [
    ([], "", "object"),
    ("text", "", "object"),
    (None, "", "object"),
    ({}, "inputs", "required"),
    ({"inputs": None}, "inputs", "required"),
    ({"inputs": []}, "inputs", "none"),
    ({"inputs": {}}, "inputs", "array"),
    ({"inputs": "x"}, "inputs", "array"),
    ({"inputs": {"n": 1}}, "inputs", "array"),
    ({"input": {"n": 1}}, "input", "`inputs`"),
    ({"input": {}, "inputs": ONE}, "input", "`inputs`"),
    ({"inputs": ONE, "callback": "https://x.test"}, "callback", "must be a JSON object"),
    ({"inputs": ONE, "depends_on": ["01a20fab-b780-7028-b92b-b89b7137c50d"]}, "depends_on", "has no run 01a20fab-b780"),
    ({"inputs": ONE, "depends_on": "01a20fab-b780-7028-b92b-b89b7137c50d"}, "depends_on", "must be a JSON array"),
    ({"inputs": ONE, "depends_on": ["01a20fab-b780-7028-b92b-b89b7137c50d"] * 21}, "depends_on", "at most 20"),
    ({"inputs": ONE, "depends_on": ["01a20fab-b780-7028-b92b-b89b7137c50d", "a"]}, "depends_on.1", "is not a uid"),
    ({"inputs": ONE, "depends_on": ["{01a20fabb7807028b92bb89b7137c50d}"]}, "depends_on.0", "is not a uid"),
    ({"inputs": ONE, "depends_on": [7]}, "depends_on.0", "is not a uid"),
    ({"inputs": ONE, "depends_on": [None]}, "depends_on.0", "is not a uid"),
    ({"inputs": ONE, "colour": 1}, "colour", "not a field"),
    ({"inputs": ONE, "name": "n" * 256}, "name", "255"),
    ({"inputs": ONE, "name": 5}, "name", "string"),
    ({"inputs": ONE, "tags": "a"}, "tags", "array"),
    ({"inputs": ONE, "tags": ["a"] * 21}, "tags", "20"),
    ({"inputs": ONE, "tags": [""]}, "tags.0", "1 character"),
    ({"inputs": ONE, "tags": ["a", "t" * 65]}, "tags.1", "64"),
    ({"inputs": ONE, "tags": [1]}, "tags.0", "string"),
    ({"inputs": ONE, "batch_size": 0}, "batch_size", "1"),
    ({"inputs": ONE, "batch_size": 1001}, "batch_size", "1000"),
    ({"inputs": ONE, "batch_size": "5"}, "batch_size", "integer"),
    ({"inputs": ONE, "batch_size": 1.0}, "batch_size", "integer"),
    ({"inputs": ONE, "batch_size": True}, "batch_size", "integer"),
    ({"inputs": ONE, "on_invalid": "ignore"}, "on_invalid", "reject"),
    ({"inputs": ONE, "identity_mode": "none"}, "identity_mode", "managed"),
    ({"inputs": ONE, "identity_ids": "a"}, "identity_ids", "array"),
    ({"inputs": ONE, "start_after": "tomorrow"}, "start_after", "RFC 3339"),
    ({"inputs": ONE, "start_after": "2030-01-01T00:00:00"}, "start_after", "RFC 3339"),
    ({"inputs": ONE, "start_after": 1_900_000_000}, "start_after", "RFC 3339"),
    ({"inputs": ONE, "start_after": "9999-12-31T23:59:59-23:59"}, "start_after", "RFC 3339"),
    ({"inputs": ONE, "start_after": "2999-01-01T00:00:00Z"}, "start_after", "year"),
]


@pytest.mark.parametrize(("body", "field", "reason"), BAD_BODIES, ids=lambda value: str(value)[:50])
def test_a_body_that_is_not_a_launch_is_refused_by_field(
    api: Api, double: ActionDefinition, body: Any, field: str, reason: str
) -> None:
    error = refused(api, body, 400, "BAD_INPUT")
    assert error["params"]["field"] == field
    assert reason in error["message"]
    assert error["error_scope"] == "input"


@pytest.mark.parametrize("parameters", [None, [], "x", 1])
def test_parameters_are_an_object(api: Api, double: ActionDefinition, parameters: Any) -> None:
    error = refused(api, {"inputs": ONE, "parameters": parameters}, 400, "BAD_PARAMETERS")
    assert error["params"]["field"] == "parameters"


def test_fields_that_are_null_are_absent(api: Api, double: ActionDefinition) -> None:
    optional = ["name", "tags", "on_invalid", "callback", "depends_on", "input", "start_after", "batch_size"]
    body = {"inputs": ONE, **dict.fromkeys(optional)}
    assert api.post(PATH, body).status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "label"),
    [(b"", 400, "BAD_INPUT"), (b"{", 400, "BAD_INPUT"), (b'{"inputs": [{"n": 1e999}]}', 400, "BAD_INPUT"),
     (b'{"inputs": [{"n": 92233720368547758080}]}', 400, "BAD_INPUT"), (b'{"inputs": [NaN]}', 400, "BAD_INPUT"),
     (b'{"inputs": [{"n": "\\u0000"}]}', 400, "BAD_INPUT"), (b'{"inputs": ["\\ud800"]}', 400, "BAD_INPUT"),
     (b'{"inputs": [' + b"[" * 70 + b"]" * 70 + b"]}", 400, "BAD_INPUT"), (b'{"inputs": ["\xff"]}', 400, "BAD_INPUT")],
)  # fmt: skip
def test_the_rules_of_json_hold_for_launches(
    api: Api, double: ActionDefinition, body: bytes, status: int, label: str
) -> None:
    refused(api, body, status, label)


def test_a_body_over_the_size(api: Api, double: ActionDefinition, settings: Any) -> None:
    settings.RUNYARD_MAX_BODY_BYTES = 1_000
    error = refused(api, {"inputs": [{"n": 1, "t": "x" * 1_000}]}, 413, "PAYLOAD_TOO_LARGE")
    assert error["params"] == {"limit": 1_000, "setting": "RUNYARD_MAX_BODY_BYTES"}


def test_another_media_type(api: Api, double: ActionDefinition) -> None:
    answer = api.client.post(PATH, data="inputs=1", content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, answer.json()["error_label"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_an_unknown_action(api: Api) -> None:
    refused(api, {"inputs": ONE}, 404, "NOT_FOUND", path="/v1/actions/nothing/async")


def test_an_action_that_is_switched_off(api: Api, acme: Member, double: ActionDefinition) -> None:
    before = launch("double", numbers(1), by=acme)
    Action.objects.filter(name="double").update(enabled=False)
    error = refused(api, {"inputs": ONE}, 409, "CONFLICT")
    assert error["params"] == {"action_name": "double", "enabled": False}
    assert work() == 0
    recovery.sweep()
    assert reread(before).status == RunStatus.BLOCKED
    Action.objects.filter(name="double").update(enabled=True)
    work()
    assert reread(before).status == RunStatus.SUCCEEDED


def test_an_action_that_does_not_run_async(api: Api) -> None:
    @action("now-only", modes=["live"])
    def now_only(input: dict) -> int:  # type: ignore[type-arg]
        return 1

    error = refused(api, {"inputs": ONE}, 409, "CONFLICT", path="/v1/actions/now-only/async")
    assert error["params"]["modes"] == ["live"]


def test_a_paused_action_takes_launches_and_waits(api: Api, acme: Member, double: ActionDefinition) -> None:
    launch("double", numbers(1), by=acme)
    Action.objects.filter(name="double").update(paused=True)
    answer = api.post(PATH, {"inputs": ONE})
    assert (answer.status_code, answer.json()["status"]) == (202, "BLOCKED")
    assert work() == 0
    Action.objects.filter(name="double").update(paused=False)
    work()
    assert set(Run.objects.values_list("status", flat=True)) == {"SUCCEEDED"}


def test_a_workspace_with_too_many_unfinished_runs(
    api: Api, acme: Member, other: Member, double: ActionDefinition, settings: Any
) -> None:
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 2
    launch("double", numbers(1), by=acme)
    launch("double", [{}], by=acme)  # INVALID: finished
    launch("double", numbers(1), by=acme, start_after=timezone.now() + timedelta(hours=1))
    before = rows()
    answer = api.post(PATH, {"inputs": ONE})
    assert (answer.status_code, answer.json()["error_label"]) == (429, "LIMIT_REACHED")
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["params"] == {"limit": 2, "used": 2, "setting": "RUNYARD_MAX_UNFINISHED_RUNS"}
    assert rows() == before
    launch("double", numbers(1), by=other)
    work()
    assert api.post(PATH, {"inputs": ONE}).status_code == 202


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("asked", [{}, {"inputs": numbers(100)}, {"callback": {"url": "https://example.com/"}}])
def test_a_launch_that_breaks_off_leaves_nothing_behind(
    api: Api, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    """Its very last rows fail, in a statement of their own or with all others: they are gone together."""
    before = rows()

    def broken(*_: Any, **__: Any) -> None:
        raise OperationalError("the database is away")

    lost = "ready AS (INSERT INTO runs_readyrun (run_id, workspace_id, action_id, turn)"
    lost += " SELECT {run}, 1, 1, pg_cancel_backend(pg_backend_pid())::int)"
    if "callback" in asked:
        monkeypatch.setattr(outbox, "write_launch", broken)
    else:
        monkeypatch.setattr(turns, "make_ready", broken)
        monkeypatch.setattr(turns, "in_line", lambda run: Beside(lost, {"run": run}))
    answer = api.post(PATH, {"inputs": ONE, "batch_size": 1, **asked})
    assert (answer.status_code, answer.json()["error_label"]) == (503, "UNAVAILABLE")
    assert rows() == before


# --- start_after ----------------------------------------------------------------------------------------------


def test_start_after_waits_for_its_time(api: Api, double: ActionDefinition) -> None:
    start = timezone.now().replace(microsecond=0) + timedelta(days=300)
    answer = api.post(PATH, {"inputs": ONE, "start_after": start.astimezone(UTC).isoformat()})
    told = answer.json()
    assert (answer.status_code, told["status"]) == (202, "SCHEDULED")
    assert datetime.fromisoformat(told["postponed_until"]) == start
    assert work() == 0
    run = Run.objects.get()
    assert inputs_of(run)[0]["status"] == "SCHEDULED"
    recovery.sweep(now=start - timedelta(seconds=1))
    assert reread(run).status == RunStatus.SCHEDULED
    recovery.sweep(now=start)
    assert (reread(run).status, reread(run).postponed_until) == (RunStatus.QUEUED, None)
    work()
    assert reread(run).status == RunStatus.SUCCEEDED
    statuses = list(run.transitions.order_by("id").values_list("to_status", flat=True))
    assert statuses == ["CREATED", "SCHEDULED", "QUEUED", "RUNNING", "SUCCEEDED"]


def test_start_after_in_the_past_starts_now(api: Api, double: ActionDefinition) -> None:
    answer = api.post(PATH, {"inputs": ONE, "start_after": "2020-01-01T00:00:00+02:00"})
    assert (answer.json()["status"], answer.json()["postponed_until"]) == ("QUEUED", None)


# --- What it costs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 1_000, 20_000])
def test_a_launch_takes_few_queries_whatever_its_size(
    api: Api, double: ActionDefinition, django_assert_max_num_queries: Any, count: int
) -> None:
    api.post(PATH, {"inputs": ONE})  # writes down the action, and that the key was used this minute
    # The key, the action, how many runs are unfinished; one that is small is stored by one statement.
    with django_assert_max_num_queries(4 if count == 1 else 16):
        assert api.post(PATH, {"inputs": numbers(count)}).status_code == 202
    ready = turns.ready_count(limit=1_000) - 1
    assert ready == min(-(-count // 16), 16) if count < 8_000 else 40
