"""Making schedules over REST, with literal requests (contract section 1, schedule)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions import ActionDefinition, action
from actions.models import Action
from rest.json import rfc3339
from runs.chunks import unpack_lines
from runs.models import InputChunk, InputSet, Run
from schedules.clock import database_time
from schedules.models import Fire, Schedule
from tests.factories import Api, Member, Number, member, numbers
from workspaces.models import IdempotencyKey

pytestmark = pytest.mark.django_db

PATH, SHORT_PATH = "/v1/actions/double/run/schedule", "/v1/actions/double/schedule"
MADE_FIELDS = [
    "schedule_uid", "cron", "timezone", "next_execution_at", "created_at", "name", "schedule_at", "status",
    "input_count", "invalid_count",
]  # fmt: skip
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


def make(api: Api, path: str = PATH, **body: Any) -> Any:
    return api.post(path, {"inputs": [{"n": 1}], **body})


def from_now(**span: float) -> str:
    return rfc3339(database_time() + timedelta(**span))


def refused(answer: Any, status: int = 400) -> tuple[str, str, Any]:
    """Return the label, the message and the field of a refusal, after which nothing is stored."""
    assert answer.status_code == status, answer.content
    assert (Schedule.objects.count(), InputSet.objects.count(), IdempotencyKey.objects.count()) == (0, 0, 0)
    error = answer.json()
    return error["error_label"], error["message"], error["params"].get("field")


# --- What is answered and stored ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATH, SHORT_PATH])
def test_every_monday_at_eight_in_paris(api: Api, acme: Member, path: str) -> None:
    answer = make(api, path, cron="0 8 * * MON", timezone="Europe/Paris", name="Monday")
    assert answer.status_code == 201
    shown = answer.json()
    schedule = Schedule.objects.get()
    assert list(shown) == MADE_FIELDS
    due = datetime.fromisoformat(shown.pop("next_execution_at"))
    assert schedule.created_at < due <= schedule.created_at + timedelta(days=8)
    assert (due.weekday(), due.hour, due.minute) in [(0, 7, 0), (0, 6, 0)]
    assert datetime.fromisoformat(shown.pop("created_at")) == schedule.created_at
    assert shown == {
        "schedule_uid": str(schedule.uid),
        "cron": "0 8 * * MON",
        "timezone": "Europe/Paris",
        "name": "Monday",
        "schedule_at": None,
        "status": "ACTIVE",
        "input_count": 1,
        "invalid_count": 0,
    }
    assert answer.headers["Location"] == f"/v1/schedules/{schedule.uid}"
    assert UUID(str(schedule.uid)).version == 7
    assert api.get(answer.headers["Location"]).status_code == 200
    assert not Run.objects.exists()
    assert not Fire.objects.exists()


def test_all_that_its_runs_begin_with_is_kept(api: Api, acme: Member) -> None:
    at = from_now(days=1)
    answer = make(
        api,
        cron="*/5 * * * *",
        schedule_at=at,
        starts_at=from_now(hours=1),
        ends_at=from_now(days=30),
        timezone="Australia/Lord_Howe",
        overlap="skip",
        catch_up="none",
        name="all of it",
        tags=["a", "b"],
        parameters={},
        identity_ids=["one"],
        identity_mode="auto",
        batch_size=2,
        inputs=[{"n": 1, "custom_data": {"row": 1}}, {"n": "x"}, {"n": 3}],
    )
    assert answer.status_code == 201, answer.content
    assert (answer.json()["next_execution_at"], answer.json()["schedule_at"]) == (at, at)
    assert (answer.json()["input_count"], answer.json()["invalid_count"]) == (3, 1)
    kept = Schedule.objects.get()
    assert (kept.workspace, kept.user, kept.action_name) == (acme.workspace, acme.user, "double")
    assert (kept.name, kept.tags, kept.parameters, kept.batch_size) == ("all of it", ["a", "b"], {}, 2)
    assert (kept.identity_ids, kept.identity_mode) == (["one"], "auto")
    assert (kept.overlap, kept.catch_up, kept.timezone) == ("skip", "none", "Australia/Lord_Howe")
    assert (kept.last_execution_at, kept.last_run_uid, kept.missed_count, kept.last_error) == (None, None, 0, None)
    assert kept.updated_at == kept.created_at
    assert (kept.input_set.is_kept, kept.input_set.workspace) == (True, acme.workspace)
    assert kept.input_set.stored_bytes > 0
    chunks = InputChunk.objects.filter(input_set=kept.input_set).order_by("first_index")
    assert [(chunk.first_index, chunk.input_count, chunk.invalid_count) for chunk in chunks] == [(0, 2, 1), (2, 1, 0)]
    assert next(iter(unpack_lines(chunks[0].inputs))) == b'{"n":1}'


def test_what_is_not_said(api: Api) -> None:
    """Null stands for what is left out, as clients made from a schema send it."""
    bare = make(api, cron="@hourly").json()
    names = ("schedule_at", "starts_at", "ends_at", "timezone", "overlap", "catch_up", "name", "tags", "batch_size")
    nulls = make(api, cron="@hourly", **dict.fromkeys(names)).json()
    assert [bare["timezone"], bare["name"], bare["schedule_at"]] == ["UTC", "", None]
    own = {"schedule_uid", "created_at", "next_execution_at"}
    assert {k: v for k, v in bare.items() if k not in own} == {k: v for k, v in nulls.items() if k not in own}
    for kept in Schedule.objects.all():
        assert (kept.overlap, kept.catch_up, kept.tags, kept.parameters) == ("allow", "one", [], {})


@pytest.mark.parametrize("offset", ["-11:30", "Z"])
def test_once_at_a_time_with_its_offset(api: Api, offset: str) -> None:
    moment = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0, tzinfo=None)
    answer = make(api, schedule_at=f"{moment.isoformat()}{offset}", timezone="Asia/Tokyo")
    assert answer.status_code == 201
    shown = answer.json()
    assert shown["cron"] is None
    assert shown["next_execution_at"] == shown["schedule_at"]
    assert datetime.fromisoformat(shown["schedule_at"]) == datetime.fromisoformat(f"{moment.isoformat()}{offset}")


def test_first_at_a_time_then_by_cron(api: Api) -> None:
    answer = make(api, cron="* * * * *", schedule_at="2100-01-01T10:00:30Z")
    uid, due = answer.json()["schedule_uid"], answer.json()["next_execution_at"]
    assert due == "2100-01-01T10:00:30Z"
    times = [row["at"] for row in api.get(f"/v1/schedules/{uid}/preview?count=3").json()]
    assert times == ["2100-01-01T10:00:30Z", "2100-01-01T10:01:00Z", "2100-01-01T10:02:00Z"]


def test_within_its_window(api: Api) -> None:
    answer = make(api, cron="0 0 * * *", starts_at="2100-01-01T00:00:00Z", ends_at="2100-01-02T00:00:00Z")
    assert answer.json()["next_execution_at"] == "2100-01-01T00:00:00Z"
    uid = answer.json()["schedule_uid"]
    times = [row["at"] for row in api.get(f"/v1/schedules/{uid}/preview").json()]
    assert times == ["2100-01-01T00:00:00Z", "2100-01-02T00:00:00Z"]


def test_an_end_that_is_never(api: Api) -> None:
    answer = make(api, cron="@daily", timezone="Pacific/Kiritimati", ends_at="9999-12-31T23:59:59Z")
    assert answer.status_code == 201
    assert len(api.get(f"/v1/schedules/{answer.json()['schedule_uid']}/preview").json()) == 10


@pytest.mark.parametrize("cron", ["*/5 8-18/2 1,15 JAN-jun 7", "@hourly", "  0   0 29 2 *  "])
def test_a_cron_comes_back_as_it_was_sent(api: Api, cron: str) -> None:
    answer = make(api, cron=cron)
    assert (answer.status_code, answer.json()["cron"]) == (201, cron)


# --- When: what is refused, field and reason ------------------------------------------------------------------


NOT_A_TIME = [
    ({}, "cron", "this or schedule_at is required"),
    ({"cron": None, "schedule_at": None}, "cron", "this or schedule_at is required"),
    ({"cron": ""}, "cron", "empty"),
    ({"cron": "* * * * * *"}, "cron", "no seconds"),
    ({"cron": "@reboot"}, "cron", "no boot"),
    ({"cron": "0 0 L * *"}, "cron", "L, W or #"),
    ({"cron": "0 0 * * MON#1"}, "cron", "L, W or #"),
    ({"cron": "0 0 30 2 *"}, "cron", "never comes"),
    ({"cron": "60 0 * * *"}, "cron", "not from 0 to 59"),
    ({"cron": 5}, "cron", "valid string"),
    ({"cron": "@daily", "timezone": "Europe/paris"}, "timezone", "Did you mean Europe/Paris?"),
    ({"cron": "@daily", "timezone": "localtime"}, "timezone", "names no place"),
    ({"cron": "@daily", "timezone": "../../etc/passwd"}, "timezone", "not in the time zone database"),
    ({"cron": "@daily", "timezone": "+02:00"}, "timezone", "is an offset"),
    ({"cron": "@daily", "timezone": 2}, "timezone", "valid string"),
    ({"schedule_at": "2020-01-01T00:00:00Z"}, "schedule_at", "has passed"),
    ({"cron": "@daily", "schedule_at": "2020-01-01T00:00:00Z"}, "schedule_at", "has passed"),
    ({"schedule_at": "2100-01-01T00:00:00"}, "schedule_at", "with its offset"),
    ({"schedule_at": "2100-01-01"}, "schedule_at", "with its offset"),
    ({"schedule_at": "tomorrow"}, "schedule_at", "not a time in RFC 3339"),
    ({"schedule_at": 4102444800}, "schedule_at", "not a time in RFC 3339"),
    ({"schedule_at": "9999-12-31T23:59:59Z"}, "schedule_at", "a time from 2000"),
    ({"cron": "@daily", "starts_at": "9999-12-31T23:59:59Z"}, "starts_at", "a time from 2000"),
    ({"cron": "@daily", "starts_at": "0001-01-01T00:00:00Z"}, "starts_at", "a time from 2000"),
    ({"cron": "@daily", "starts_at": "2100-01-01"}, "starts_at", "with its offset"),
    ({"cron": "@daily", "ends_at": "soon"}, "ends_at", "not a time in RFC 3339"),
    ({"cron": "@daily", "ends_at": "2020-01-01T00:00:00Z"}, "ends_at", "has passed"),
    (
        {"cron": "@daily", "starts_at": "2100-01-02T00:00:00Z", "ends_at": "2100-01-01T00:00:00Z"},
        "ends_at",
        "later than starts_at",
    ),
    (
        {"cron": "@daily", "starts_at": "2100-01-01T00:00:00Z", "ends_at": "2100-01-01T00:00:00Z"},
        "ends_at",
        "later than starts_at",
    ),
    (
        {"cron": "0 12 * * *", "starts_at": "2100-01-01T13:00:00Z", "ends_at": "2100-01-02T11:59:59Z"},
        "ends_at",
        "would never fire",
    ),
    (
        {"schedule_at": "2100-01-01T00:00:00Z", "starts_at": "2100-01-02T00:00:00Z"},
        "schedule_at",
        "nothing fires before starts_at",
    ),
    (
        {"cron": "@daily", "schedule_at": "2100-01-03T00:00:00Z", "ends_at": "2100-01-02T00:00:00Z"},
        "schedule_at",
        "nothing fires after ends_at",
    ),
    ({"cron": "@daily", "catch_up": "all", "overlap": "skip"}, "catch_up", "goes with overlap allow only"),
    ({"cron": "@daily", "catch_up": "two"}, "catch_up", "'one', 'none' or 'all'"),
    ({"cron": "@daily", "overlap": "never"}, "overlap", "'allow' or 'skip'"),
    ({"cron": "@daily", "overlap": True}, "overlap", "'allow' or 'skip'"),
]


def test_when_it_cannot_be(api: Api) -> None:
    for body, field, reason in NOT_A_TIME:
        label, message, told = refused(make(api, **body))
        assert (label, told) == ("BAD_INPUT", field), body
        assert message.startswith(f"{field}: "), body
        assert reason in message, body


def test_what_is_wrong_with_a_cron_is_told_to_machines_too(api: Api) -> None:
    params = make(api, cron="0 25 * * *").json()["params"]
    assert (params["field"], params["part"]) == ("cron", "hour")
    assert params["allowed"].startswith("0-23")
    assert make(api, cron="@daily", timezone="europe/berlin").json()["params"]["suggestion"] == "Europe/Berlin"


# --- With what: what is refused as async refuses it -----------------------------------------------------------


NOT_A_FIELD = [
    ({"inputs": []}, "inputs", "there are none"),
    ({"inputs": None}, "inputs", "is required"),
    ({"inputs": {"n": 1}}, "inputs", "must be a JSON array"),
    ({"input": {"n": 1}}, "input", "belongs to live"),
    ({"start_after": "2100-01-01T00:00:00Z"}, "start_after", "belongs to async"),
    ({"depends_on": []}, "depends_on", "belongs to async"),
    ({"crons": "@daily"}, "crons", "is not a field of a schedule"),
    ({"name": "x" * 256}, "name", "255"),
    ({"tags": ["x"] * 21}, "tags", "20"),
    ({"tags": [""]}, "tags.0", "1 character"),
    ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
    ({"batch_size": 1001}, "batch_size", "1000"),
    ({"on_invalid": "drop"}, "on_invalid", "'skip' or 'reject'"),
    ({"identity_mode": "manual"}, "identity_mode", "'direct', 'auto' or 'managed'"),
]


def test_a_field_that_cannot_be(api: Api) -> None:
    for body, field, reason in NOT_A_FIELD:
        label, message, told = refused(make(api, **{"cron": "@daily", **body}))
        assert (label, told) == ("BAD_INPUT", field), body
        assert reason in message, body


def test_a_body_that_is_no_object(api: Api) -> None:
    for body in (b"[]", b'"x"', b"null", b"5"):
        label, message, _ = refused(api.post(PATH, body))
        assert (label, message[:27]) == ("BAD_INPUT", "The body is a JSON object w"), body
    assert refused(api.post(PATH, b"{"))[0] == "BAD_INPUT"


@pytest.mark.parametrize("on_invalid", ["skip", "reject"])
def test_inputs_of_which_none_fits(api: Api, on_invalid: str) -> None:
    """An async launch with `skip` stores an INVALID run: of a schedule each run would be one."""
    answer = make(api, cron="@daily", inputs=[{"n": "x"}, {}], on_invalid=on_invalid)
    label, message, field = refused(answer)
    assert (label, field) == ("BAD_INPUT", "inputs")
    assert message.startswith("inputs[0]: n: ")
    assert [one["index"] for one in answer.json()["params"]["inputs"]] == [0, 1]


def test_inputs_of_which_some_fit(api: Api) -> None:
    some = [{"n": 1}, {"n": "x"}]
    label, message, _ = refused(make(api, cron="@daily", inputs=some, on_invalid="reject"))
    assert label == "BAD_INPUT"
    assert message.startswith("inputs[1]: n: ")
    skipped = make(api, cron="@daily", inputs=some)
    assert (skipped.status_code, skipped.json()["input_count"], skipped.json()["invalid_count"]) == (201, 2, 1)


@pytest.mark.parametrize("on_invalid", ["skip", "reject"])
def test_parameters_that_do_not_fit(api: Api, on_invalid: str) -> None:
    label, message, _ = refused(make(api, cron="@daily", parameters={"speed": 1}, on_invalid=on_invalid))
    assert (label, message) == ("BAD_PARAMETERS", "parameters: speed: this action takes no such parameter")
    label, _, field = refused(make(api, cron="@daily", parameters=[]))
    assert (label, field) == ("BAD_PARAMETERS", "parameters")


def test_max_results_that_is_none(api: Api, count_up: ActionDefinition) -> None:
    path = "/v1/actions/count-up/schedule"
    label, message, _ = refused(make(api, path, cron="@daily", parameters={"max_results": 0}))
    assert (label, "max_results" in message) == ("BAD_PARAMETERS", True)
    assert make(api, path, cron="@daily", parameters={"max_results": 1}).status_code == 201


def test_more_than_the_limits(api: Api, settings: Any) -> None:
    settings.RUNYARD_MAX_INPUTS = 2
    settings.RUNYARD_MAX_PARAMETERS_BYTES = 10
    label, message, field = refused(make(api, cron="@daily", inputs=numbers(3)))
    assert (label, field, "RUNYARD_MAX_INPUTS" in message) == ("BAD_INPUT", "inputs", True)
    label, message, field = refused(make(api, cron="@daily", parameters={"a": "b" * 10}))
    assert (label, field, "RUNYARD_MAX_PARAMETERS_BYTES" in message) == ("BAD_PARAMETERS", "parameters", True)


def test_an_action_that_is_not_there(api: Api) -> None:
    assert refused(make(api, "/v1/actions/nothing/run/schedule", cron="@daily"), 404)[0] == "NOT_FOUND"


def test_an_action_that_is_switched_off_or_paused(api: Api) -> None:
    made = make(api, cron="@daily")
    Schedule.objects.all().delete()
    InputSet.objects.all().delete()
    assert made.status_code == 201
    Action.objects.update(enabled=False)
    label, message, _ = refused(make(api, cron="@daily"), 409)
    assert (label, message) == ("CONFLICT", "The action 'double' is switched off.")
    Action.objects.update(enabled=True, paused=True)
    assert make(api, cron="@daily").status_code == 201


def test_an_action_that_is_not_for_schedules(api: Api) -> None:
    @action("now-only", modes=["live", "async"])
    def now_only(input: Number) -> int:
        return input.n

    @action("later-only", modes=["schedule"])
    def later_only(input: Number) -> int:
        return input.n

    answer = make(api, "/v1/actions/now-only/schedule", cron="@daily")
    assert refused(answer, 409)[1] == "The action 'now-only' does not run on schedules; its modes are live, async."
    assert make(api, "/v1/actions/later-only/schedule", cron="@daily").status_code == 201


def test_when_is_told_before_the_inputs_are_looked_at(api: Api) -> None:
    assert refused(make(api, cron="@never", inputs=[{"n": "x"}]))[2] == "cron"


# --- Who, how many, how often ---------------------------------------------------------------------------------


def test_who_may(acme: Member, other: Member) -> None:
    admin, ops, user = (member("Acme", f"{role}@acme.test", role=role) for role in ("ADMIN", "OPS", "USER"))
    read_only = member("Acme", "eve@acme.test", scopes=["read"])
    keys = (None, user.key, read_only.key, admin.key, ops.key)
    assert [make(Api(key), cron="@daily").status_code for key in keys] == [401, 403, 403, 201, 201]
    made = Schedule.objects.values_list("user__email", "workspace__name").order_by("pk")
    assert list(made) == [("ADMIN@acme.test", "Acme"), ("OPS@acme.test", "Acme")]
    assert Api(other.key).get("/v1/schedules").json() == []


def test_no_query_parameters_and_no_other_method(api: Api) -> None:
    assert api.post(f"{PATH}?x=1", {"inputs": [{"n": 1}], "cron": "@daily"}).status_code == 400
    answer = api.get(PATH)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_as_many_as_a_workspace_may_have(api: Api, other: Member, settings: Any) -> None:
    settings.RUNYARD_MAX_SCHEDULES = 2
    uids = [make(api, cron="@daily").json()["schedule_uid"] for _ in range(2)]
    answer = make(api, cron="@daily")
    assert (answer.status_code, answer.json()["error_label"]) == (429, "LIMIT_REACHED")
    assert answer.json()["params"] == {"limit": 2, "used": 2, "setting": "RUNYARD_MAX_SCHEDULES"}
    assert "2 schedules" in answer.json()["message"]
    assert answer.headers["Retry-After"] == "60"
    assert api.get("/v1/workspaces").json()[0]["usage"]["schedules"] == 2
    assert make(Api(other.key), cron="@daily").status_code == 201
    api.post(f"/v1/schedules/{uids[0]}/pause", {})
    assert make(api, cron="@daily").status_code == 429
    api.post(f"/v1/schedules/{uids[0]}/cancel", {})
    assert make(api, cron="@daily").status_code == 201


def test_as_much_as_a_workspace_may_have_stored(api: Api, settings: Any) -> None:
    settings.RUNYARD_MAX_STORED_BYTES = 0
    label, message, _ = refused(make(api, cron="@daily"), 429)
    assert (label, "RUNYARD_MAX_STORED_BYTES" in message) == ("LIMIT_REACHED", True)


def test_the_limit_of_unfinished_runs_is_not_for_schedules(api: Api, settings: Any) -> None:
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 0
    assert make(api, cron="@daily").status_code == 201


@pytest.fixture
def keyed(acme: Member) -> Api:
    """A client that sends one key with all it asks."""
    return Api(acme.key, **{"Idempotency-Key": "k-1"})


def test_the_first_answer_again(keyed: Api) -> None:
    first = make(keyed, cron="* * * * *")
    again = make(keyed, SHORT_PATH, cron="* * * * *")
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["Location"] == first.headers["Location"]
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    assert (Schedule.objects.count(), InputSet.objects.count()) == (1, 1)
    assert IdempotencyKey.objects.get().stored_uid == Schedule.objects.get().uid


def test_another_body_with_the_same_key(keyed: Api) -> None:
    make(keyed, cron="* * * * *")
    answer = make(keyed, cron="@daily")
    assert (answer.status_code, answer.json()["error_label"]) == (422, "IDEMPOTENCY_MISMATCH")
    assert Schedule.objects.count() == 1


def test_a_key_is_of_one_endpoint_and_free_after_a_refusal(keyed: Api) -> None:
    assert make(keyed, cron="@never").status_code == 400
    assert make(keyed, cron="@daily").status_code == 201
    assert keyed.post("/v1/actions/double/async", {"inputs": [{"n": 1}]}).status_code == 202
    assert Schedule.objects.count() == 1


def test_key_and_schedule_or_neither(keyed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("in the last step")

    monkeypatch.setattr("workspaces.idempotency._keep", broken)
    assert make(keyed, cron="@daily").status_code == 500
    assert (Schedule.objects.count(), InputSet.objects.count(), IdempotencyKey.objects.count()) == (0, 0, 0)


def test_what_it_costs_does_not_grow_with_the_inputs(api: Api) -> None:
    """COPY, from some dozens of chunks on."""

    def queries(count: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert make(api, cron="@daily", inputs=numbers(count), batch_size=1).status_code == 201
        return len(captured)

    queries(1)
    assert queries(400) <= queries(1) + 2
