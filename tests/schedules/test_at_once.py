"""Several who change, move, fire or delete a schedule at once: each wins whole, and no due time is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from actions import ActionDefinition
from rest.errors import Conflict, NotFound
from runs import deletion as run_deletion
from runs.models import InputChunk, InputSet, Run, RunStatus
from schedules import deletion, due_times, editing, firing, lifecycle
from schedules.clock import database_time
from schedules.editing import Changes
from schedules.models import Fire, FireKind, Schedule, ScheduleStatus
from tests.factories import Member, numbers
from tests.schedules.planned import again, finish, plan, runs_of, told

pytestmark = pytest.mark.django_db(transaction=True)

S = ScheduleStatus
SECOND = timedelta(seconds=1)
PATIENCE_S = 30
SideBySide = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


def due_now(by: Member, **fields: Any) -> Schedule:
    """A schedule that is due once: the next time is no minute away, which a test may take."""
    return plan(by=by, **{"cron": "@yearly", "next_execution_at": database_time() - SECOND} | fields)


def quietly(verb: Callable[..., Any], *arguments: Any, **named: Any) -> Callable[[], Any]:
    """Return a call that says whether it was refused."""

    def call() -> bool:
        with suppress(Conflict, NotFound):
            verb(*arguments, **named)
            return True
        return False

    return call


def change(schedule: Schedule, **fields: Any) -> Schedule:
    return editing.edit(schedule, Changes(fields))


@pytest.mark.parametrize(
    "verb",
    [lambda one: change(one, cron="@yearly"), lifecycle.pause, lifecycle.cancel],
    ids=["edit", "pause", "cancel"],
)
def test_a_due_time_is_fired_or_told_of_and_never_both(
    acme: Member, side_by_side: SideBySide, verb: Callable[[Schedule], Any]
) -> None:
    for _ in range(3):
        schedule = due_now(acme, cron="0 0 1 1 *")
        due = schedule.next_execution_at
        side_by_side(firing.tick, lambda: verb(schedule), firing.tick)  # noqa: B023
        after, (line,) = again(schedule), told(schedule)
        assert line in [(FireKind.FIRED, due, 1), (FireKind.MISSED, due, 1)]
        was_fired = line[0] == FireKind.FIRED
        assert (len(runs_of(schedule)), after.missed_count) == (int(was_fired), int(not was_fired))
        expected = due_times.next_due(after.timing, database_time()) if after.status == S.ACTIVE else None
        assert after.next_execution_at == expected


def test_a_change_waits_for_the_tick_that_has_the_row_and_then_holds(acme: Member) -> None:
    schedule = due_now(acme, cron="0 0 1 1 *")
    is_held, may_end, done = threading.Event(), threading.Event(), threading.Event()

    def tick() -> None:
        with transaction.atomic():
            firing.tick()  # in this transaction, which is not over
            is_held.set()
            assert may_end.wait(PATIENCE_S)
        connection.close()

    def edit() -> None:
        change(schedule, cron="0 12 * * *", name="noon")
        done.set()
        connection.close()

    threads = [threading.Thread(target=tick), threading.Thread(target=edit)]
    threads[0].start()
    assert is_held.wait(PATIENCE_S)
    threads[1].start()
    assert not done.wait(0.3)
    assert again(schedule).name == ""
    may_end.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    after = again(schedule)
    assert [kind for kind, _, _ in told(schedule)] == [FireKind.FIRED]
    assert (after.name, after.last_run_uid) == ("noon", Run.objects.get().uid)
    assert after.next_execution_at == due_times.next_due(after.timing, database_time())


def test_a_tick_passes_by_what_is_being_changed(acme: Member) -> None:
    schedule, another = due_now(acme), due_now(acme)
    with transaction.atomic():
        lifecycle.hold(schedule)
        ticking = threading.Thread(target=lambda: (firing.tick(), connection.close()))
        ticking.start()
        ticking.join(PATIENCE_S)
        assert not ticking.is_alive()
        assert [kind for kind, _, _ in told(another)] == [FireKind.FIRED]
        assert told(schedule) == []
    firing.tick()
    assert [kind for kind, _, _ in told(schedule)] == [FireKind.FIRED]


def test_all_moves_at_once(acme: Member, side_by_side: SideBySide) -> None:
    for _ in range(3):
        schedule = plan(by=acme, cron="@yearly", next_execution_at=database_time() + SECOND * 3600)
        verbs = [lifecycle.pause, lifecycle.resume, lifecycle.cancel, lifecycle.pause, lifecycle.cancel]
        done = side_by_side(*(quietly(verb, schedule) for verb in verbs))
        after = again(schedule)
        assert (after.status, after.next_execution_at) == (S.CANCELLED, None)
        assert done[2] is done[4] is True
        assert told(schedule) == []


def test_two_changes_at_once_are_both_whole(acme: Member, side_by_side: SideBySide) -> None:
    for _ in range(2):
        schedule = plan(by=acme, cron="@yearly", next_execution_at=database_time() + SECOND * 3600)
        side_by_side(
            lambda: change(schedule, inputs=numbers(2), name="a", timezone="Asia/Tokyo"),  # noqa: B023
            lambda: change(schedule, inputs=numbers(5), name="b", cron="0 8 * * *"),  # noqa: B023
        )
        after = again(schedule)
        assert (after.name, after.input_set.input_count) in [("a", 2), ("b", 5)]
        assert (after.timezone, after.cron) == ("Asia/Tokyo", "0 8 * * *")
        assert after.next_execution_at == due_times.next_due(after.timing, database_time())
        assert InputSet.objects.get(is_kept=True) == after.input_set
        assert InputSet.objects.count() == 1
        deletion.delete(after)


def test_the_last_run_and_the_schedule_go_at_once(acme: Member, side_by_side: SideBySide) -> None:
    for _ in range(3):
        schedule = due_now(acme)
        runs = [firing.trigger(schedule, by=acme.user, now=database_time()) for _ in range(2)]
        finish(schedule)
        side_by_side(
            quietly(deletion.delete, schedule),
            quietly(deletion.delete, schedule),
            *(quietly(run_deletion.delete, run) for run in runs),
        )
        assert not Run.objects.exists()
        assert not Schedule.objects.exists()
        assert not InputSet.objects.exists()
        assert not InputChunk.objects.exists()


def test_a_schedule_is_deleted_while_it_fires_and_is_triggered(acme: Member, side_by_side: SideBySide) -> None:
    for _ in range(3):
        schedule = due_now(acme)
        deleted, triggered, *_ = side_by_side(
            quietly(deletion.delete, schedule),
            quietly(firing.trigger, schedule, by=acme.user, now=database_time()),
            firing.tick,
            quietly(change, schedule, inputs=numbers(1)),
        )
        assert deleted
        assert not Schedule.objects.exists()
        assert not Fire.objects.exists()
        left = runs_of(schedule)
        assert len(left) in ((1, 2) if triggered else (0, 1))
        assert set(InputSet.objects.values_list("pk", "is_kept")) == {(run.input_set_id, False) for run in left}
        Run.objects.update(status=RunStatus.STOPPED)
        for run in left:
            run_deletion.delete(run)
        assert not InputSet.objects.exists()
