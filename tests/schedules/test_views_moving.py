"""Pausing, resuming, cancelling, triggering and deleting schedules over REST."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actions import ActionDefinition
from actions.models import Action
from rest.json import rfc3339
from runs.models import Actor, InputChunk, InputSet, Run, RunTransition
from schedules.clock import database_time
from schedules.models import Fire, FireKind, Schedule, ScheduleStatus
from tests.factories import Api, Member, member, numbers, work
from workspaces.models import IdempotencyKey

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
S = ScheduleStatus
VERBS = ("pause", "resume", "cancel", "trigger")


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


def make(api: Api, **body: Any) -> Schedule:
    answer = api.post("/v1/actions/double/schedule", {"inputs": numbers(3), "cron": "@yearly", **body})
    assert answer.status_code == 201, answer.content
    return Schedule.objects.get(uid=answer.json()["schedule_uid"])


def be(schedule: Schedule, status: ScheduleStatus, **fields: Any) -> None:
    """Let a schedule have got into a status."""
    due = schedule.next_execution_at if status == S.ACTIVE else None
    Schedule.objects.filter(pk=schedule.pk).update(status=status, **{"next_execution_at": due, **fields})


def post(api: Api, schedule: Schedule, verb: str, body: Any = None) -> Any:
    return api.post(f"/v1/schedules/{schedule.uid}/{verb}", b"" if body is None else body)


def again(schedule: Schedule) -> Schedule:
    return Schedule.objects.get(pk=schedule.pk)


def told(schedule: Schedule) -> list[tuple[str, int, str]]:
    return list(Fire.objects.filter(schedule=schedule).order_by("pk").values_list("kind", "count", "reason"))


# --- From state to state --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verb", "then"),
    [
        (S.ACTIVE, "pause", S.PAUSED),
        (S.PAUSED, "pause", S.PAUSED),
        (S.PAUSED, "resume", S.ACTIVE),
        (S.ACTIVE, "resume", S.ACTIVE),
        (S.ACTIVE, "cancel", S.CANCELLED),
        (S.PAUSED, "cancel", S.CANCELLED),
        (S.CANCELLED, "cancel", S.CANCELLED),
        (S.CANCELLED, "pause", None),
        (S.CANCELLED, "resume", None),
        (S.COMPLETED, "pause", None),
        (S.COMPLETED, "resume", None),
        (S.COMPLETED, "cancel", None),
    ],
)
def test_each_move_from_each_state(api: Api, status: ScheduleStatus, verb: str, then: ScheduleStatus | None) -> None:
    schedule = make(api)
    be(schedule, status)
    before = again(schedule)
    answer = post(api, schedule, verb)
    after = again(schedule)
    if then is None:
        assert (answer.status_code, answer.json()["error_label"]) == (409, "CONFLICT")
        assert answer.json()["params"] == {"status": status}
        assert status in answer.json()["message"]
    else:
        assert (answer.status_code, answer.json()["status"]) == (200, then)
        assert answer.json() == api.get(f"/v1/schedules/{schedule.uid}").json()
    assert after.status == (then or status)
    assert (after.next_execution_at is not None) == (after.status == S.ACTIVE)
    if after.status == status:  # nothing moved
        assert (after.updated_at, after.next_execution_at) == (before.updated_at, before.next_execution_at)
    else:
        assert after.updated_at > before.updated_at


def test_a_paused_time_is_not_caught_up(api: Api) -> None:
    schedule = make(api, cron="* * * * *")
    post(api, schedule, "pause")
    Schedule.objects.filter(pk=schedule.pk).update(updated_at=database_time() - timedelta(days=3))
    now = database_time()
    due = datetime.fromisoformat(post(api, schedule, "resume").json()["next_execution_at"])
    assert now < due <= now + MINUTE + timedelta(seconds=30)
    assert again(schedule).missed_count == 0
    assert told(schedule) == []


def test_what_is_due_and_not_fired_when_it_is_paused_is_told(api: Api) -> None:
    """As after an outage: nobody fired it, and now nobody will."""
    schedule = make(api, cron="* * * * *")
    late = database_time().replace(second=0, microsecond=0) - 4 * MINUTE
    be(schedule, S.ACTIVE, next_execution_at=late)
    shown = post(api, schedule, "pause").json()
    assert (shown["status"], shown["next_execution_at"]) == ("PAUSED", None)
    assert shown["missed_count"] in (5, 6)  # where a minute ended meanwhile
    assert told(schedule) == [(FireKind.MISSED, shown["missed_count"], "paused before it was fired")]
    fire = Fire.objects.get()
    assert (fire.due_at, fire.run_uid) == (late + MINUTE * (shown["missed_count"] - 1), None)
    assert fire.at - fire.due_at < MINUTE


def test_what_is_due_and_not_fired_when_it_is_cancelled_is_told(api: Api) -> None:
    schedule = make(api, cron=None, schedule_at=rfc3339(database_time() + MINUTE))
    past = database_time() - timedelta(days=1)
    be(schedule, S.ACTIVE, next_execution_at=past, schedule_at=past)
    assert post(api, schedule, "cancel").json()["missed_count"] == 1
    assert told(schedule) == [(FireKind.MISSED, 1, "cancelled before it was fired")]


def test_one_whose_only_time_passed_while_it_was_paused(api: Api) -> None:
    schedule = make(api, cron=None, schedule_at="2100-01-01T00:00:00Z")
    post(api, schedule, "pause")
    be(schedule, S.PAUSED, schedule_at=datetime(2020, 1, 1, tzinfo=UTC))
    answer = post(api, schedule, "resume")
    assert (answer.status_code, answer.json()["params"]) == (409, {"status": "PAUSED"})
    assert "has no due time any more" in answer.json()["message"]
    path = f"/v1/schedules/{schedule.uid}"
    changed = api.client.patch(path, b'{"schedule_at": "2100-01-01T00:00:00Z"}', content_type="application/json")
    assert (changed.status_code, changed.json()["next_execution_at"]) == (200, None)
    assert post(api, schedule, "resume").json()["next_execution_at"] == "2100-01-01T00:00:00Z"


def test_one_whose_time_zone_is_gone(api: Api) -> None:
    schedule = make(api)
    be(schedule, S.PAUSED, timezone="Mars/Olympus", last_error={"label": "BAD_INPUT"})
    answer = post(api, schedule, "resume")
    assert (answer.status_code, answer.json()["params"]) == (409, {"status": "PAUSED", "field": "timezone"})
    assert answer.json()["message"].startswith("timezone: The time zone 'Mars/Olympus' is not in the")
    assert again(schedule).last_error == {"label": "BAD_INPUT"}
    path = f"/v1/schedules/{schedule.uid}"
    assert api.get(path).json()["timezone"] == "Mars/Olympus"
    answer = api.client.patch(path, b'{"timezone": "America/Toronto"}', content_type="application/json")
    assert answer.status_code == 200
    shown = post(api, schedule, "resume").json()
    assert (shown["status"], shown["timezone"], shown["last_error"]) == ("ACTIVE", "America/Toronto", None)


# --- Triggering -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, {}])
def test_run_it_now(api: Api, acme: Member, body: Any) -> None:
    schedule = make(api, name="nightly", tags=["a"])
    before = again(schedule)
    answer = post(api, schedule, "trigger", body)
    run = Run.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/runs/{run.uid}")
    asynchronous = api.post("/v1/actions/double/async", {"inputs": numbers(3)}).json()
    assert list(answer.json()) == list(asynchronous)
    assert (answer.json()["run_uid"], answer.json()["status"], answer.json()["input_count"]) == (
        str(run.uid), "QUEUED", 3,
    )  # fmt: skip
    assert (run.schedule_uid, run.schedule_name, run.user, run.tags) == (schedule.uid, "nightly", acme.user, ["a"])
    assert run.input_set_id == schedule.input_set_id
    after = again(schedule)
    assert (after.next_execution_at, after.status, after.updated_at) == (
        before.next_execution_at, S.ACTIVE, before.updated_at,
    )  # fmt: skip
    assert (after.last_run_uid, after.last_execution_at) == (run.uid, run.created_at)
    assert [(kind, count) for kind, count, _ in told(schedule)] == [(FireKind.TRIGGERED, 1)]
    assert RunTransition.objects.filter(run=run).earliest("id").actor == Actor.MEMBER
    work()
    assert api.get(f"/v1/runs/{run.uid}").json()["status"] == "SUCCEEDED"
    assert api.get(f"/v1/runs/{run.uid}/outputs").json() == [{"n": 0}, {"n": 2}, {"n": 4}]
    runs = api.get(f"/v1/runs?scheduled_run_uid={schedule.uid}").json()
    assert [(one["uid"], one["scheduled_run_name"]) for one in runs] == [(str(run.uid), "nightly")]


@pytest.mark.parametrize(
    ("status", "answered"), [(S.ACTIVE, 202), (S.PAUSED, 202), (S.COMPLETED, 202), (S.CANCELLED, 409)]
)
def test_in_which_states(api: Api, status: ScheduleStatus, answered: int) -> None:
    schedule = make(api)
    be(schedule, status)
    answer = post(api, schedule, "trigger")
    assert answer.status_code == answered
    assert (again(schedule).status, Run.objects.count()) == (status, int(answered == 202))
    if answered == 409:
        assert answer.json()["params"] == {"status": "CANCELLED"}


def test_a_trigger_that_is_refused(api: Api, settings: Any) -> None:
    schedule = make(api, overlap="skip")
    assert post(api, schedule, "trigger", {"inputs": []}).json()["params"]["field"] == "inputs"
    assert post(api, schedule, "trigger", b"[]").status_code == 400
    assert post(api, schedule, "trigger", b"{").status_code == 400
    Action.objects.update(enabled=False)
    assert post(api, schedule, "trigger").status_code == 409
    Action.objects.update(enabled=True)
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 0
    answer = post(api, schedule, "trigger")
    assert (answer.status_code, answer.json()["params"]["setting"]) == (429, "RUNYARD_MAX_UNFINISHED_RUNS")
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 10
    assert not Run.objects.exists()
    assert post(api, schedule, "trigger").status_code == 202
    answer = post(api, schedule, "trigger")
    assert (answer.status_code, answer.json()["params"]["status"]) == (409, "ACTIVE")
    assert "unfinished" in answer.json()["message"]
    work()
    assert post(api, schedule, "trigger").status_code == 202


def test_triggered_once_with_a_key(api: Api, acme: Member) -> None:
    schedule, another = make(api), make(api)
    keyed = Api(acme.key, **{"Idempotency-Key": "k-1"})
    first = post(keyed, schedule, "trigger", {})
    repeated = post(keyed, schedule, "trigger", {})
    assert (repeated.status_code, repeated.content) == (202, first.content)
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert Run.objects.count() == 1
    assert post(keyed, another, "trigger", {}).headers.get("Idempotency-Replayed") is None
    assert Run.objects.count() == 2
    assert IdempotencyKey.objects.filter(stored_uid=first.json()["run_uid"]).exists()


# --- Deleting -------------------------------------------------------------------------------------------------


def delete(api: Api, schedule: Schedule, query: str = "") -> Any:
    return api.client.delete(f"/v1/schedules/{schedule.uid}{query}")


@pytest.mark.parametrize("status", [S.ACTIVE, S.CANCELLED])
def test_one_without_runs_is_gone_with_its_inputs(api: Api, acme: Member, status: ScheduleStatus) -> None:
    kept = make(api)
    schedule = make(Api(acme.key, **{"Idempotency-Key": "k"}))
    be(schedule, status)
    Fire.objects.create(schedule=schedule, kind=FireKind.MISSED, due_at=database_time(), at=database_time())
    answer = delete(api, schedule)
    assert (answer.status_code, answer.content) == (204, b"")
    assert list(Schedule.objects.all()) == [kept]
    assert list(InputSet.objects.all()) == [kept.input_set]
    assert InputChunk.objects.filter(input_set=kept.input_set).exists()
    assert not Fire.objects.exists()
    assert not IdempotencyKey.objects.exists()
    assert delete(api, schedule).status_code == 404
    for path in ("", "/preview", "/timeline"):
        assert api.get(f"/v1/schedules/{schedule.uid}{path}").status_code == 404
    for verb in VERBS:
        assert post(api, schedule, verb).status_code == 404


def test_its_runs_stay_and_keep_the_inputs(api: Api) -> None:
    schedule = make(api, name="weekly")
    first, second = (post(api, schedule, "trigger").json()["run_uid"] for _ in range(2))
    assert delete(api, schedule).status_code == 204
    work()
    shown = api.get(f"/v1/runs/{first}").json()
    assert (shown["status"], shown["scheduled_run_uid"], shown["scheduled_run_name"]) == (
        "SUCCEEDED", str(schedule.uid), "weekly",
    )  # fmt: skip
    assert api.client.delete(f"/v1/runs/{first}").status_code == 204
    assert api.get(f"/v1/runs/{second}/inputs").json()[2]["input_data"] == {"n": 2}
    assert api.client.delete(f"/v1/runs/{second}").status_code == 204
    assert not InputSet.objects.exists()
    assert not InputChunk.objects.exists()


def test_inputs_outlive_the_runs_of_a_schedule(api: Api) -> None:
    schedule = make(api)
    uid = post(api, schedule, "trigger").json()["run_uid"]
    work()
    assert api.client.delete(f"/v1/runs/{uid}").status_code == 204
    assert list(InputSet.objects.all()) == [schedule.input_set]
    assert post(api, schedule, "trigger").status_code == 202
    work()
    assert Run.objects.get().status == "SUCCEEDED"


def test_a_query_that_delete_does_not_take(api: Api) -> None:
    assert delete(api, make(api), "?force=true").status_code == 400


# --- Who ------------------------------------------------------------------------------------------------------


def test_who_may_move_what(api: Api, acme: Member, other: Member) -> None:
    schedule = make(api)
    user, read_only = member("Acme", "u@acme.test", role="USER"), member("Acme", "r@acme.test", scopes=["read"])
    for verb in VERBS:
        keys = (None, user.key, read_only.key, other.key)
        assert [post(Api(key), schedule, verb).status_code for key in keys] == [401, 403, 403, 404]
    keys = (None, user.key, read_only.key, other.key)
    assert [delete(Api(key), schedule).status_code for key in keys] == [401, 403, 403, 404]
    assert again(schedule).status == S.ACTIVE
    assert again(schedule).updated_at == schedule.updated_at
    assert not Run.objects.exists()
    ops = Api(member("Acme", "o@acme.test", role="OPS").key)
    assert [post(ops, schedule, verb).status_code for verb in ("pause", "resume", "trigger", "cancel")] == [
        200, 200, 202, 200,
    ]  # fmt: skip
    assert delete(ops, schedule).status_code == 204
