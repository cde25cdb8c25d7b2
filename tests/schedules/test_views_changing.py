"""Changing schedules over REST: each field as when it was made, all together or nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions import ActionDefinition, registry
from actions.models import Action
from rest.json import rfc3339
from runs.models import InputChunk, InputSet
from schedules.clock import database_time
from schedules.models import Fire, FireKind, Schedule, ScheduleStatus
from tests.factories import Api, Member, member, numbers, work

pytestmark = pytest.mark.django_db

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
S = ScheduleStatus
WHOLE = {
    "name": "new",
    "cron": "*/5 * * * *",
    "timezone": "Asia/Tokyo",
    "schedule_at": "2100-01-02T00:00:00Z",
    "starts_at": "2100-01-01T00:00:00Z",
    "ends_at": "2100-01-03T00:00:00Z",
    "inputs": [{"n": 7}, {"n": "x"}],
    "parameters": {},
    "overlap": "skip",
    "catch_up": "none",
    "tags": ["z"],
}


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


def make(api: Api, **body: Any) -> Schedule:
    answer = api.post("/v1/actions/double/schedule", {"inputs": numbers(3), "cron": "@yearly", **body})
    assert answer.status_code == 201, answer.content
    return Schedule.objects.get(uid=answer.json()["schedule_uid"])


def patch(api: Api, schedule: Schedule, body: Any = None, **fields: Any) -> Any:
    sent = body if isinstance(body, bytes) else json.dumps(fields if body is None else body).encode()
    return api.client.patch(f"/v1/schedules/{schedule.uid}", data=sent, content_type="application/json")


def changed(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def shown(api: Api, schedule: Schedule) -> dict[str, Any]:
    return dict(api.get(f"/v1/schedules/{schedule.uid}").json())


def again(schedule: Schedule) -> Schedule:
    return Schedule.objects.get(pk=schedule.pk)


# --- What changes ---------------------------------------------------------------------------------------------


def test_all_at_once(api: Api) -> None:
    schedule = make(api, name="old", tags=["a"])
    before = shown(api, schedule)
    after = changed(patch(api, schedule, WHOLE))
    assert after == shown(api, schedule)
    assert {name: after[name] for name in WHOLE if name != "inputs"} == {
        name: value for name, value in WHOLE.items() if name != "inputs"
    }
    assert (after["next_execution_at"], after["input_count"], after["invalid_count"]) == ("2100-01-02T00:00:00Z", 2, 1)
    assert after["updated_at"] > before["updated_at"]
    same = {"uid", "action_name", "user_uid", "status", "created_at", "last_run_uid", "missed_count", "last_error"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_one_at_a_time(api: Api) -> None:
    schedule = make(api)
    after = shown(api, schedule)
    for name in (name for name in WHOLE if name not in ("schedule_at", "inputs", "parameters")):
        before, after = after, changed(patch(api, schedule, {name: WHOLE[name]}))
        moved = {key for key in before if before[key] != after[key]}
        assert {name, "updated_at"} <= moved <= {name, "updated_at", "next_execution_at"}


@pytest.mark.parametrize(
    "body", [{}, {"name": "", "tags": [], "cron": "@yearly", "timezone": "UTC", "overlap": "allow", "catch_up": "one",
                  "schedule_at": None, "starts_at": None, "ends_at": None}]
)  # fmt: skip
def test_what_is_the_same_as_before_changes_nothing(api: Api, body: dict[str, Any]) -> None:
    schedule = make(api)
    before = shown(api, schedule)
    assert changed(patch(api, schedule, body)) == before


def test_what_it_may_be_without_is_taken_away(api: Api) -> None:
    schedule = make(api, cron=None, schedule_at="2100-01-01T00:00:00Z", ends_at="2100-01-01T00:00:00Z")
    shown = changed(patch(api, schedule, cron="@yearly", schedule_at=None, ends_at=None))
    assert (shown["cron"], shown["schedule_at"], shown["ends_at"]) == ("@yearly", None, None)
    assert shown["next_execution_at"] < "2100"


def test_a_time_that_has_passed_may_be_sent_again(api: Api) -> None:
    """As by who reads a schedule, changes a field and sends all of it back."""
    schedule = make(api, schedule_at="2100-01-01T00:00:00Z")
    past = datetime(2020, 1, 1, tzinfo=UTC)
    Schedule.objects.update(schedule_at=past, starts_at=past - DAY)
    sent = {"schedule_at": rfc3339(past), "starts_at": rfc3339(past - DAY), "cron": "* * * * *", "name": "later"}
    shown = changed(patch(api, schedule, sent))
    assert (shown["schedule_at"], shown["name"]) == ("2020-01-01T00:00:00Z", "later")
    assert shown["next_execution_at"] > rfc3339(database_time())
    assert patch(api, schedule, schedule_at="2020-01-01T00:00:01Z").json()["params"]["field"] == "schedule_at"


def test_a_paused_one_stays_paused(api: Api) -> None:
    schedule = make(api)
    api.post(f"/v1/schedules/{schedule.uid}/pause", {})
    shown = changed(patch(api, schedule, cron="* * * * *"))
    assert (shown["status"], shown["cron"], shown["next_execution_at"]) == ("PAUSED", "* * * * *", None)
    assert patch(api, schedule, ends_at="2020-01-01T00:00:00Z").status_code == 400


@pytest.mark.parametrize("status", [S.CANCELLED, S.COMPLETED])
def test_one_that_has_ended_does_not_change(api: Api, status: ScheduleStatus) -> None:
    schedule = make(api)
    Schedule.objects.update(status=status, next_execution_at=None)
    answer = patch(api, schedule, name="n")
    assert (answer.status_code, answer.json()["error_label"]) == (409, "CONFLICT")
    assert answer.json()["params"] == {"status": status}


# --- What is refused ------------------------------------------------------------------------------------------


REFUSED = [
    ({"cron": "0 0 30 2 *"}, "cron", "never comes"),
    ({"cron": None}, "cron", "this or schedule_at is required"),
    ({"cron": ""}, "cron", "empty"),
    ({"timezone": "europe/berlin"}, "timezone", "Did you mean Europe/Berlin?"),
    ({"timezone": None}, "timezone", "valid string"),
    ({"schedule_at": "2020-01-01T00:00:00Z"}, "schedule_at", "has passed"),
    ({"cron": None, "schedule_at": "2100-01-01T00:00:00"}, "schedule_at", "with its offset"),
    ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at", "has passed"),
    ({"starts_at": "2100-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z"}, "ends_at", "later than starts_at"),
    ({"starts_at": "2099-01-02T00:00:00Z", "ends_at": "2099-06-01T00:00:00Z"}, "ends_at", "would never fire"),
    ({"catch_up": "all"}, "catch_up", "goes with overlap allow only"),
    ({"catch_up": None}, "catch_up", "'one', 'none' or 'all'"),
    ({"overlap": "sometimes"}, "overlap", "'allow' or 'skip'"),
    ({"name": None}, "name", "valid string"),
    ({"name": "x" * 256}, "name", "255"),
    ({"tags": ["x" * 65]}, "tags.0", "64"),
    ({"inputs": None}, "inputs", "must be a JSON array"),
    ({"inputs": []}, "inputs", "there are none"),
    ({"inputs": [{"n": "x"}]}, "inputs", "1 of 1 inputs do not fit"),
    ({"inputs": [{"n": 1}, {}], "on_invalid": "reject"}, "inputs", "1 of 2 inputs do not fit"),
    ({"on_invalid": "reject"}, "on_invalid", "send inputs too"),
    ({"batch_size": 5}, "batch_size", "send inputs too"),
    ({"action_name": "count-up"}, "action_name", "is not a field of a change"),
    ({"status": "PAUSED"}, "status", "is not a field of a change"),
    ({"depends_on": []}, "depends_on", "is not a field of a change"),
]


def test_a_field_that_cannot_be(api: Api) -> None:
    """With a name that could be: nothing of the whole is done."""
    schedule = make(api, name="old", overlap="skip")
    before = shown(api, schedule)
    for body, field, reason in REFUSED:
        answer = patch(api, schedule, {"name": "new", **body})
        assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_INPUT"), body
        assert answer.json()["params"]["field"] == field, body
        assert reason in answer.json()["message"], body
    assert shown(api, schedule) == before
    assert list(InputSet.objects.all()) == [schedule.input_set]


def test_parameters_that_do_not_fit(api: Api) -> None:
    schedule = make(api)
    before = shown(api, schedule)
    for parameters in ({"speed": 1}, [], None):
        answer = patch(api, schedule, name="new", parameters=parameters)
        assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS")
    assert shown(api, schedule) == before


def test_a_body_that_is_no_object(api: Api) -> None:
    schedule = make(api)
    for body in (b"[]", b"{", b"null", b'"name"'):
        answer = patch(api, schedule, body)
        assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_INPUT"), body


def test_more_than_the_limits(api: Api, settings: Any) -> None:
    schedule = make(api)
    settings.RUNYARD_MAX_INPUTS = 1
    assert "RUNYARD_MAX_INPUTS" in patch(api, schedule, inputs=numbers(2)).json()["message"]
    settings.RUNYARD_MAX_PARAMETERS_BYTES = 10
    answer = patch(api, schedule, parameters={"a": "b" * 10})
    assert "RUNYARD_MAX_PARAMETERS_BYTES" in answer.json()["message"]
    settings.RUNYARD_MAX_STORED_BYTES = 0
    assert patch(api, schedule, inputs=numbers(1)).status_code == 429
    settings.RUNYARD_MAX_SCHEDULES = 0
    assert patch(api, schedule, name="n").status_code == 200


def test_an_action_that_is_switched_off_or_gone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make(api)
    Action.objects.update(enabled=False)
    for body in ({"inputs": numbers(1)}, {"parameters": {}}):
        assert patch(api, schedule, body).status_code == 409
    assert patch(api, schedule, name="still", cron="@daily").status_code == 200
    Action.objects.update(enabled=True)
    monkeypatch.setattr(registry, "_definitions", {})
    answer = patch(api, schedule, inputs=numbers(1))
    assert (answer.status_code, answer.json()["error_label"]) == (409, "CONFLICT")
    assert answer.json()["message"].startswith("The action 'double' is gone")
    assert patch(api, schedule, name="yet").status_code == 200


def test_who_may(api: Api, other: Member) -> None:
    schedule = make(api)
    user, read_only = member("Acme", "u@acme.test", role="USER"), member("Acme", "r@acme.test", scopes=["read"])
    keys = (None, user.key, read_only.key, other.key)
    assert [patch(Api(key), schedule, name="x").status_code for key in keys] == [401, 403, 403, 404]
    assert again(schedule).name == ""
    assert patch(Api(member("Acme", "o@acme.test", role="OPS").key), schedule, name="x").status_code == 200


# --- Inputs ---------------------------------------------------------------------------------------------------


def test_new_inputs_leave_past_runs_as_they_were(api: Api) -> None:
    schedule = make(api)
    first = api.post(f"/v1/schedules/{schedule.uid}/trigger", {}).json()["run_uid"]
    old = schedule.input_set_id
    changed(patch(api, schedule, inputs=[{"n": 50, "custom_data": {"row": 1}}]))
    second = api.post(f"/v1/schedules/{schedule.uid}/trigger", {}).json()["run_uid"]
    work()
    assert api.get(f"/v1/runs/{first}/outputs").json() == [{"n": 0}, {"n": 2}, {"n": 4}]
    assert api.get(f"/v1/runs/{second}/outputs").json() == [{"n": 100}]
    assert api.get(f"/v1/runs/{second}/inputs").json()[0]["custom_data"] == {"row": 1}
    new = again(schedule).input_set_id
    assert dict(InputSet.objects.values_list("pk", "is_kept")) == {old: False, new: True}
    api.client.delete(f"/v1/runs/{first}")
    assert dict(InputSet.objects.values_list("pk", "is_kept")) == {new: True}
    assert set(InputChunk.objects.values_list("input_set", flat=True)) == {new}


def test_inputs_that_no_run_has_go_at_once(api: Api) -> None:
    schedule = make(api)
    for count in (2, 5):
        changed(patch(api, schedule, inputs=numbers(count)))
        kept = again(schedule).input_set
        assert list(InputSet.objects.all()) == [kept]
        assert (kept.input_count, kept.is_kept) == (count, True)
        assert set(InputChunk.objects.values_list("input_set", flat=True)) == {kept.pk}


def test_the_size_of_batches_goes_with_the_inputs(api: Api) -> None:
    schedule = make(api, batch_size=2)
    changed(patch(api, schedule, inputs=numbers(4), batch_size=3))
    sizes = InputChunk.objects.order_by("first_index").values_list("input_count", flat=True)
    assert (again(schedule).batch_size, list(sizes)) == (3, [3, 1])
    changed(patch(api, schedule, inputs=numbers(4)))
    assert again(schedule).batch_size == 1  # as of any launch that does not say


def test_parameters_keep_their_order_and_their_types(api: Api, count_up: ActionDefinition) -> None:
    answer = api.post("/v1/actions/count-up/schedule", {"inputs": [{"n": 1}], "cron": "@daily"})
    schedule = Schedule.objects.get(uid=answer.json()["schedule_uid"])
    assert changed(patch(api, schedule, parameters={"max_results": 1}))["parameters"] == {"max_results": 1}
    assert patch(api, schedule, parameters={"max_results": True}).status_code == 400
    changed(patch(api, schedule, inputs=numbers(2)))
    assert again(schedule).parameters == {"max_results": 1}


def test_what_it_costs_does_not_grow_with_the_inputs(api: Api) -> None:
    schedule = make(api)

    def queries(count: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            changed(patch(api, schedule, inputs=numbers(count), batch_size=1))
        return len(captured)

    queries(1)
    assert queries(400) <= queries(1) + 2


# --- Due times that have come ---------------------------------------------------------------------------------


@pytest.fixture
def late(api: Api) -> Schedule:
    """A schedule of every minute that nobody has fired for the last five."""
    schedule = make(api, cron="* * * * *")
    due = database_time().replace(second=0, microsecond=0) - 4 * MINUTE
    Schedule.objects.update(next_execution_at=due)
    return again(schedule)


def test_they_fire_all_the_same_after_a_change_that_is_not_about_them(api: Api, late: Schedule) -> None:
    for body in ({"name": "n"}, {"overlap": "skip"}, {"inputs": [{"n": 1}]}, {"ends_at": "2100-01-01T00:00:00Z"}, {}):
        assert changed(patch(api, late, body))["next_execution_at"] == rfc3339(late.next_execution_at)
    assert (again(late).missed_count, Fire.objects.count()) == (0, 0)


@pytest.mark.parametrize("body", [{"cron": "@yearly"}, {"starts_at": "2100-01-01T00:00:00Z"}])
def test_they_are_told_as_missed_after_one_that_is(api: Api, late: Schedule, body: dict[str, Any]) -> None:
    after = changed(patch(api, late, body))
    assert after["next_execution_at"] > rfc3339(database_time())
    assert after["missed_count"] in (5, 6)  # where a minute ended meanwhile
    fire = Fire.objects.get()
    assert (fire.kind, fire.count, fire.run_uid) == (FireKind.MISSED, after["missed_count"], None)
    assert fire.reason == "the schedule was changed before it was fired"
    assert fire.due_at == late.next_execution_at + MINUTE * (fire.count - 1)
