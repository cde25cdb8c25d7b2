"""Firing: each due time launches once, whoever ticks and whatever dies, and a broken schedule stops nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, InternalError, OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import ActionDefinition
from rest.errors import Conflict, LimitReached, NotFound
from runs.models import Actor, Run, RunStatus
from schedules import firing, lifecycle, settling
from schedules.models import Fire, FireKind, Schedule, ScheduleStatus
from tests.factories import Member, work
from tests.schedules.planned import MINUTE, NOON, again, plan, runs_of, sharing, told

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def nothing_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "_failing", {})


def tick(**options: Any) -> int:
    """Tick until nothing is due."""
    fired = 0
    while found := firing.tick(**{"now": NOON, "step_s": 60, **options}):
        fired += found
    return fired


def times_of(schedule: Schedule) -> list[str]:
    return [f"{kind} {due_at:%H:%M}" for kind, due_at, _ in told(schedule) if due_at]


# --- A due time


def test_it_launches_its_run_and_moves_on(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme, name="minutely", last_error={"label": "LIMIT_REACHED"})
    now = NOON + timedelta(seconds=1)
    assert tick(now=now) == 1
    (run,) = runs_of(schedule)
    fire = Fire.objects.get()
    assert (fire.kind, fire.due_at, fire.at, fire.run_uid, fire.count) == ("FIRED", NOON, now, run.uid, 1)
    fired = again(schedule)
    assert (fired.status, fired.next_execution_at) == (ScheduleStatus.ACTIVE, NOON + MINUTE)
    assert (fired.last_run_uid, fired.last_execution_at) == (run.uid, now)
    assert (fired.missed_count, fired.last_error, fired.updated_at) == (0, None, schedule.updated_at)
    assert (run.status, run.created_at, run.schedule_uid) == (RunStatus.QUEUED, now, schedule.uid)
    created = run.transitions.get(to_status="CREATED")
    assert (created.actor, created.actor_uid) == (Actor.SCHEDULE, schedule.uid)
    assert created.reason == "fired for 2026-01-15T12:00:00Z"
    assert tick(now=now) == 0


def test_nothing_fires_before_its_time(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme)
    assert tick(now=NOON - timedelta(microseconds=1)) == 0
    assert told(schedule) == []


def test_the_clock_is_the_databases(acme: Member, double: ActionDefinition) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT date_trunc('minute', clock_timestamp())")
        (minute,) = cursor.fetchone()
    due, later = plan(by=acme, next_execution_at=minute), plan(by=acme, next_execution_at=minute + HOUR)
    assert tick(now=None) >= 1
    assert told(due)[0] == ("FIRED", minute, 1)
    assert told(later) == []
    assert Fire.objects.earliest("pk").at >= minute


@pytest.mark.parametrize("status", [ScheduleStatus.PAUSED, ScheduleStatus.CANCELLED, ScheduleStatus.COMPLETED])
def test_only_active_ones_fire(acme: Member, double: ActionDefinition, status: str) -> None:
    schedule = plan(by=acme, status=status)
    assert tick() == 0
    assert again(schedule).next_execution_at == NOON


def test_a_one_shot_completes(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme, cron="", schedule_at=NOON)
    tick(now=NOON + timedelta(seconds=2))
    done = again(schedule)
    assert (done.status, done.next_execution_at) == (ScheduleStatus.COMPLETED, None)
    assert done.updated_at == NOON + timedelta(seconds=2)
    assert len(runs_of(schedule)) == 1


def test_the_last_time_before_the_end_completes(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme, cron="0 * * * *", ends_at=NOON + HOUR)
    tick()
    assert again(schedule).status == ScheduleStatus.ACTIVE
    tick(now=NOON + HOUR)
    assert again(schedule).status == ScheduleStatus.COMPLETED
    assert times_of(schedule) == ["FIRED 12:00", "FIRED 13:00"]


def test_those_that_wait_longest_come_first(acme: Member, double: ActionDefinition, monkeypatch: Any) -> None:
    monkeypatch.setattr(firing, "TOGETHER", 1)
    late, early = plan(by=acme), plan(by=acme, next_execution_at=NOON - MINUTE)
    tick()
    assert [one.schedule_id for one in Fire.objects.order_by("pk")][:2] == [early.pk, early.pk]
    assert times_of(late) == ["FIRED 12:00"]


def test_a_time_that_an_edit_brought_back_does_not_fire_twice(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme)
    tick()
    Schedule.objects.update(next_execution_at=NOON)
    tick()
    assert times_of(schedule) == ["FIRED 12:00"]
    assert again(schedule).next_execution_at == NOON + MINUTE
    Schedule.objects.update(next_execution_at=NOON)
    tick(now=NOON + MINUTE)
    assert times_of(schedule) == ["FIRED 12:00", "FIRED 12:01"]


def test_a_due_time_has_one_line_whoever_writes_it(acme: Member, double: ActionDefinition) -> None:
    """Whatever goes wrong with locks: what would fire a second time is rolled back with its run."""
    schedule, another = plan(by=acme), plan(by=acme)
    fires = [{"schedule": one, "kind": FireKind.FIRED, "due_at": NOON, "at": NOON} for one in (schedule, another)]
    for fire in fires:
        Fire.objects.create(**fire)
    with pytest.raises(IntegrityError, match="fire_unique"), transaction.atomic():
        Fire.objects.create(**fires[0] | {"kind": FireKind.MISSED})
    for _ in range(2):  # by a person, at no due time
        Fire.objects.create(schedule=schedule, kind=FireKind.TRIGGERED, at=NOON)


# --- Why there may be no run


def test_one_that_may_not_overlap_waits_for_its_last_run(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme, overlap="skip")
    tick()
    tick(now=NOON + MINUTE)
    skipped = Fire.objects.get(kind=FireKind.SKIPPED)
    assert (skipped.due_at, skipped.run_uid) == (NOON + MINUTE, None)
    assert skipped.reason == "the last run is unfinished; overlap is skip"
    assert (again(schedule).missed_count, again(schedule).last_error) == (1, None)
    work()
    tick(now=NOON + 2 * MINUTE)
    assert times_of(schedule) == ["FIRED 12:00", "SKIPPED 12:01", "FIRED 12:02"]


@pytest.mark.parametrize("status", [RunStatus.STOPPED, RunStatus.INVALID, RunStatus.FAILED, None])
def test_a_run_that_does_not_go_on_is_not_waited_for(acme: Member, double: ActionDefinition, status: Any) -> None:
    schedule = plan(by=acme, overlap="skip")
    tick()
    Run.objects.update(last_error=None)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs_run SET status = %s", [status or "QUEUED"])
    if status is None:  # deleted
        Schedule.objects.update(last_run_uid="00000000-0000-7000-8000-000000000000")
    tick(now=NOON + MINUTE)
    assert times_of(schedule) == ["FIRED 12:00", "FIRED 12:01"]


def test_two_that_come_due_together_do_not_overlap(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme, overlap="skip")
    tick(now=NOON + 5 * MINUTE + timedelta(seconds=1))
    assert told(schedule) == [("FIRED", NOON + 4 * MINUTE, 5), ("SKIPPED", NOON + 5 * MINUTE, 1)]
    assert again(schedule).missed_count == 5


def test_a_workspace_that_has_as_many_runs_as_it_may(
    acme: Member, other: Member, double: ActionDefinition, settings: Any
) -> None:
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 2
    schedules = [plan(by=acme, cron="0 * * * *") for _ in range(3)]
    elsewhere = plan(by=other, cron="0 * * * *")
    tick()
    assert [Fire.objects.filter(schedule=one).get().kind for one in schedules] == ["FIRED", "FIRED", "SKIPPED"]
    assert times_of(elsewhere) == ["FIRED 12:00"]
    full = again(schedules[2])
    assert full.last_error is not None
    assert (full.last_error["label"], full.missed_count) == ("LIMIT_REACHED", 1)
    assert full.last_error["params"] == {"limit": 2, "used": 2, "setting": "RUNYARD_MAX_UNFINISHED_RUNS"}
    assert full.next_execution_at == NOON + HOUR
    work()
    tick(now=NOON + HOUR)
    assert times_of(full) == ["SKIPPED 12:00", "SKIPPED 13:00"]  # the two before it took the places
    Schedule.objects.exclude(pk=full.pk).update(status=ScheduleStatus.PAUSED)
    work()
    tick(now=NOON + 2 * HOUR)
    assert (times_of(full)[-1], again(full).last_error) == ("FIRED 14:00", None)


def test_a_workspace_that_has_stored_as_much_as_it_may(acme: Member, double: ActionDefinition, settings: Any) -> None:
    from runs import stored_bytes

    stored_bytes._known.clear()
    schedule = plan(by=acme)
    settings.RUNYARD_MAX_STORED_BYTES = 1
    tick()
    error = again(schedule).last_error
    assert times_of(schedule) == ["SKIPPED 12:00"]
    assert error is not None
    assert (error["label"], error["params"]["setting"]) == ("LIMIT_REACHED", "RUNYARD_MAX_STORED_BYTES")
    stored_bytes._known.clear()


def test_a_run_that_is_invalid_tells_the_schedule(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme)
    schedule.action.enabled = False
    schedule.action.save()
    tick()
    (run,) = runs_of(schedule)
    assert run.status == RunStatus.INVALID
    told_why = again(schedule).last_error
    assert told_why is not None
    assert (told_why["label"], told_why["error_ref"]) == ("ACTION_SWITCHED_OFF", str(run.uid))
    assert times_of(schedule) == ["FIRED 12:00"]
    schedule.action.enabled = True
    schedule.action.save()
    tick(now=NOON + MINUTE)
    assert again(schedule).last_error is None


def test_an_action_whose_code_nobody_has_does_not_pile_up_runs(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actions import registry

    schedule = plan(by=acme)
    with monkeypatch.context() as without:
        without.delitem(registry._definitions, "double")
        for minute in range(3):
            tick(now=NOON + minute * MINUTE)
    assert times_of(schedule) == ["FIRED 12:00", "SKIPPED 12:01", "SKIPPED 12:02"]
    error = again(schedule).last_error
    assert error is not None
    assert error["label"] == "NOT_FOUND"
    tick(now=NOON + 3 * MINUTE)
    assert again(schedule).last_error is None
    work()
    assert [run.status for run in runs_of(schedule)] == ["SUCCEEDED", "SUCCEEDED"]


# --- What does not go on


@pytest.mark.parametrize(("field", "value"), [("timezone", "Mars/Olympus"), ("cron", "61 * * * *")])
def test_one_whose_next_time_cannot_be_known_is_paused(
    acme: Member, double: ActionDefinition, field: str, value: str
) -> None:
    broken, whole = plan(by=acme, **{field: value}), plan(by=acme)
    tick(now=NOON + timedelta(seconds=3))
    assert (times_of(broken), times_of(whole)) == (["FIRED 12:00"], ["FIRED 12:00"])
    paused = again(broken)
    assert (paused.status, paused.next_execution_at) == (ScheduleStatus.PAUSED, None)
    assert paused.last_error is not None
    assert (paused.last_error["label"], paused.last_error["params"]["field"]) == ("BAD_INPUT", field)
    assert paused.last_error["message"].startswith(f"{field}: ")
    assert again(whole).status == ScheduleStatus.ACTIVE


def broken(by: Member, **fields: Any) -> Schedule:
    """A schedule that no code of ours makes: firing it is a division by zero."""
    schedule = plan(by=by, **fields)
    Schedule.objects.filter(pk=schedule.pk).update(batch_size=0)
    return schedule


def test_one_that_fails_stops_nobody_and_is_not_lost(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedules = [plan(by=acme), broken(acme), plan(by=acme), broken(acme, next_execution_at=NOON - MINUTE)]
    tick()
    assert [len(told(one)) for one in schedules] == [1, 0, 1, 0]
    for one in schedules[1::2]:
        failed = again(one)
        assert failed.last_error is not None
        assert (failed.last_error["label"], failed.status) == ("INTERNAL_ERROR", ScheduleStatus.ACTIVE)
        assert "ZeroDivisionError" in failed.last_error["message"]
        assert failed.next_execution_at == one.next_execution_at  # it is due still
    tick(now=NOON + MINUTE)
    assert [len(told(one)) for one in schedules] == [2, 0, 2, 0]
    Schedule.objects.update(batch_size=2)
    tick(now=NOON + 2 * MINUTE)
    assert told(schedules[1]) == []  # not every second
    in_a_minute = {pk: at - firing.TRIED_AGAIN_AFTER_S for pk, at in firing._failing.items()}
    monkeypatch.setattr(firing, "_failing", in_a_minute)
    tick(now=NOON + 2 * MINUTE)
    assert told(schedules[1])[0] == ("FIRED", NOON, 1)
    assert told(schedules[3])[0] == ("FIRED", NOON, 2)  # it was missed by then
    assert (again(schedules[1]).last_error, firing._failing) == (None, {})


def test_one_that_was_deleted_or_paused_is_not_tried_again(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, paused = broken(acme), broken(acme)
    tick()
    assert set(firing._failing) == {gone.pk, paused.pk}
    gone.delete()
    lifecycle.pause(paused, now=NOON)
    monkeypatch.setattr(firing, "_failing", dict.fromkeys(firing._failing, 0.0))
    tick()
    assert firing._failing == {}


# --- Many at once


def test_a_transaction_takes_no_more_than_it_should(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "ROWS_IN_ALL", 10)
    ordinary, away = plan(by=acme, cron="0 * * * *"), plan(by=acme, cron="0 * * * *", catch_up="all")
    Schedule.objects.filter(pk=away.pk).update(next_execution_at=NOON - 20 * HOUR)
    taken = [settled for _ in range(50) if (settled := firing.tick(now=NOON, step_s=0.000_001))]
    assert len(taken) > 3
    assert len(runs_of(away)) == 21
    assert [at for _, at, _ in told(away)] == [NOON + hour * HOUR for hour in range(-20, 1)]
    assert times_of(ordinary) == ["FIRED 12:00"]


def test_as_many_statements_for_many_as_for_one(acme: Member, double: ActionDefinition) -> None:
    first = plan(by=acme, overlap="skip")
    counted = []
    for minute, count in enumerate((0, 30)):
        sharing(first, count, next_execution_at=NOON + minute * MINUTE)
        with CaptureQueriesContext(connection) as queries:
            firing.tick(now=NOON + minute * MINUTE)
        counted.append(len(queries))
        work()
    assert counted[1] <= counted[0] + 1
    assert Fire.objects.filter(kind=FireKind.FIRED).count() == 32


def test_idle_schedules_cost_one_query_of_an_index(acme: Member, double: ActionDefinition) -> None:
    sharing(plan(by=acme), 500, next_execution_at=NOON + HOUR)
    Schedule.objects.filter(next_execution_at=NOON).delete()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE schedules_schedule")
    with CaptureQueriesContext(connection) as queries:
        assert firing.tick(now=NOON) == 0
    (asked,) = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {asked}")
        explained = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Scan using schedule_due" in explained
    assert "Sort" not in explained


@pytest.mark.django_db(transaction=True)
def test_many_ticks_at_once_fire_each_once(
    acme: Member,
    other: Member,
    double: ActionDefinition,
    side_by_side: Callable[..., list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firing, "TOGETHER", 7)
    schedules = [*sharing(plan(by=acme), 20), *sharing(plan(by=other), 20)]
    fired = sum(side_by_side(*[tick] * 6))
    assert fired == 42
    assert Fire.objects.count() == Run.objects.count() == 42
    assert {again(one).next_execution_at for one in schedules} == {NOON + MINUTE}
    assert Run.objects.values("schedule_uid").distinct().count() == 42
    work()
    assert set(Run.objects.values_list("status", flat=True)) == {RunStatus.SUCCEEDED}


@pytest.fixture
def locked_elsewhere() -> Iterator[Callable[[Schedule], None]]:
    """Hold a schedule's row in another session until the test ends."""
    release, holders = threading.Event(), list[threading.Thread]()

    def hold(schedule: Schedule) -> None:
        held = threading.Event()

        def session() -> None:
            with transaction.atomic():
                Schedule.objects.select_for_update().get(pk=schedule.pk)
                held.set()
                release.wait(30)
            connections.close_all()

        holders.append(threading.Thread(target=session))
        holders[-1].start()
        assert held.wait(30)

    yield hold
    release.set()
    for holder in holders:
        holder.join()


@pytest.mark.django_db(transaction=True)
def test_one_in_other_hands_is_passed_by(
    acme: Member, double: ActionDefinition, locked_elsewhere: Callable[[Schedule], None]
) -> None:
    held, free = plan(by=acme), plan(by=acme)
    locked_elsewhere(held)
    assert tick() == 1
    assert (told(held), len(told(free))) == ([], 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("at", "how"),
    [("_decide", "is killed"), ("_store", "is killed"), ("_write", "is killed"), ("_store", "stands still")],
)
def test_what_dies_before_its_commit_has_done_nothing(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch, at: str, how: str
) -> None:
    schedule = plan(by=acme)
    step = getattr(settling, at)

    def die(*args: Any, **options: Any) -> None:
        step(*args, **options)
        with connection.cursor() as cursor:  # as the server sees a process that is gone
            if how == "stands still":
                cursor.execute("SET idle_in_transaction_session_timeout = '10ms'")
                time.sleep(0.2)
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as dying:
        dying.setattr(settling, at, die)
        with pytest.raises((OperationalError, InternalError)):
            firing.tick(now=NOON)
    connection.close()
    assert firing._failing == {}  # it is not the schedule that failed
    assert (told(schedule), runs_of(schedule)) == ([], [])
    assert again(schedule).next_execution_at == NOON
    assert tick(now=NOON + timedelta(seconds=30)) == 1
    assert (times_of(schedule), len(runs_of(schedule))) == (["FIRED 12:00"], 1)


# --- By hand


def test_a_trigger_launches_now_and_changes_no_time(acme: Member, other: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme)
    now = timezone.now()
    run = firing.trigger(schedule, by=other.user, now=now)
    assert (run.status, run.user_id, run.schedule_uid) == (RunStatus.QUEUED, other.user.pk, schedule.uid)
    assert run.progress.remaining == 3
    created = run.transitions.get(to_status="CREATED")
    assert (created.actor, created.actor_uid, created.reason) == (Actor.MEMBER, other.user.uid, "triggered")
    triggered = again(schedule)
    assert (triggered.next_execution_at, triggered.last_run_uid) == (NOON, run.uid)
    assert (triggered.last_execution_at, triggered.missed_count) == (now, 0)
    assert told(schedule) == [("TRIGGERED", None, 1)]
    firing.trigger(schedule, by=acme.user, now=now)
    assert len(runs_of(schedule)) == 2


@pytest.mark.parametrize("status", [ScheduleStatus.PAUSED, ScheduleStatus.COMPLETED])
def test_one_that_does_not_fire_can_be_triggered(acme: Member, double: ActionDefinition, status: str) -> None:
    schedule = plan(by=acme, status=status, next_execution_at=None)
    firing.trigger(schedule, by=acme.user, now=NOON)
    assert again(schedule).status == status
    assert len(runs_of(schedule)) == 1


def test_what_a_trigger_refuses(acme: Member, double: ActionDefinition, settings: Any) -> None:
    cancelled, alone, gone = plan(by=acme, status="CANCELLED"), plan(by=acme, overlap="skip"), plan(by=acme)
    with pytest.raises(Conflict, match="CANCELLED"):
        firing.trigger(cancelled, by=acme.user, now=NOON)
    firing.trigger(alone, by=acme.user, now=NOON)
    with pytest.raises(Conflict, match="unfinished"):
        firing.trigger(alone, by=acme.user, now=NOON)
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 1
    with pytest.raises(LimitReached):
        firing.trigger(gone, by=acme.user, now=NOON)
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 100
    gone.action.enabled = False
    gone.action.save()
    with pytest.raises(Conflict, match="switched off"):
        firing.trigger(gone, by=acme.user, now=NOON)
    Schedule.objects.filter(pk=gone.pk).delete()
    with pytest.raises(NotFound):
        firing.trigger(gone, by=acme.user, now=NOON)
    assert Run.objects.count() == 1
