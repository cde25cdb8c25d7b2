"""The sweep finds what was lost, is safe to repeat, and leaves no flood behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.utils import timezone

from actions import ActionDefinition
from actions.models import Action
from runs import dispatch, doorbell, lifecycle, lost_calls, recovery, turns
from runs.models import (
    Batch,
    BatchStatus,
    Dependency,
    ReadyRun,
    Run,
    RunProgress,
    RunStatus,
    RunTransition,
    WorkspaceTurn,
)
from tests.factories import Member, counts, launch, numbers, reread, work
from tests.runs.live_worker import stored

pytestmark = pytest.mark.django_db


def everything() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in
            (Run, RunProgress, Batch, ReadyRun, RunTransition, WorkspaceTurn)]  # fmt: skip


def test_nothing_to_set_right(db: None) -> None:
    assert recovery.sweep() == recovery.Found()


def test_a_worker_that_went_silent(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(3), by=acme, batch_size=1)
    for _ in range(3):
        dispatch.claim(worker="gone:1", actions=["double"], now=timezone.now())
    Batch.objects.filter(first_index__lt=2).update(leased_until=timezone.now() - timedelta(seconds=1))
    found = recovery.sweep()
    assert (found.expired_leases, found.lost_ready_runs, found.stale_ready_runs) == (2, 0, 0)
    work()
    assert counts(run) == (2, 0, 0, 1)
    assert list(Batch.objects.order_by("first_index").values_list("crash_count", "attempt")) == [(1, 2), (1, 2), (0, 1)]


def test_a_ready_row_that_was_lost(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    ReadyRun.objects.all().delete()
    assert work() == 0
    assert recovery.sweep().lost_ready_runs == 1
    assert recovery.sweep().lost_ready_runs == 0
    work()
    assert reread(run).status == RunStatus.SUCCEEDED


@pytest.mark.parametrize("status", [RunStatus.STOPPED, RunStatus.SCHEDULED])
def test_a_run_that_may_not_execute_is_not_put_in_line(
    acme: Member, double: ActionDefinition, status: RunStatus
) -> None:
    run = launch("double", numbers(1), by=acme)
    Run.objects.filter(pk=run.pk).update(status=status)
    assert recovery.sweep().stale_ready_runs == 1
    assert recovery.sweep() == recovery.Found()
    assert not ReadyRun.objects.exists()


def test_a_run_that_waits_for_another_is_not_put_in_line(acme: Member, double: ActionDefinition) -> None:
    first, second = (launch("double", numbers(1), by=acme) for _ in range(2))
    Dependency.objects.create(run=second, depends_on_uid=first.uid, is_due=False)
    Run.objects.filter(pk=second.pk).update(status=RunStatus.BLOCKED)
    assert work() == 1
    assert (reread(first).status, reread(second).status) == (RunStatus.SUCCEEDED, RunStatus.BLOCKED)
    assert not ReadyRun.objects.exists()  # the claim that met it took it out
    assert recovery.sweep().lost_ready_runs == 0


def test_a_ready_row_without_a_batch(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    work()
    turns.make_ready(run.pk, run.workspace_id, run.action_id)
    assert recovery.sweep().stale_ready_runs == 1
    assert not ReadyRun.objects.exists()


def test_runs_whose_time_has_come(acme: Member, double: ActionDefinition) -> None:
    now = timezone.now()
    soon, late = (
        launch("double", numbers(1), by=acme, start_after=now + timedelta(minutes=minutes)) for minutes in (1, 3)
    )
    assert recovery.sweep(now=now).due_runs == 0
    assert recovery.sweep(now=now + timedelta(minutes=2)).due_runs == 1
    assert [reread(run).status for run in (soon, late)] == [RunStatus.QUEUED, RunStatus.SCHEDULED]
    assert soon.transitions.latest("id").actor == "system"
    assert recovery.sweep(now=now + timedelta(minutes=2)).due_runs == 0
    assert recovery.queue_due_runs(now=now + timedelta(minutes=4), limit=0) == 0
    assert recovery.sweep(now=now + timedelta(minutes=4)).due_runs == 1


def test_a_run_is_queued_by_one_sweep(acme: Member, double: ActionDefinition) -> None:
    now = timezone.now()
    run = launch("double", numbers(1), by=acme, start_after=now + timedelta(minutes=1))
    assert recovery.queue(run, now=now)
    assert not recovery.queue(run, now=now)
    assert run.transitions.filter(to_status="QUEUED").count() == 1


def test_batches_that_wait_in_a_run_that_goes_on(acme: Member, double: ActionDefinition) -> None:
    launch("double", numbers(2), by=acme, batch_size=1)
    dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    due = timezone.now() + timedelta(seconds=50)
    Batch.objects.filter(first_index=1).update(status=BatchStatus.WAITING, ready_at=due)
    ReadyRun.objects.all().delete()
    assert recovery.sweep(now=due - timedelta(seconds=1)).due_batches == 0
    assert recovery.sweep(now=due).due_batches == 1
    lease = dispatch.claim(worker="w", actions=["double"], now=due)
    assert lease is not None
    assert lease.first_index == 1


def test_a_second_sweep_changes_nothing(acme: Member, other: Member, double: ActionDefinition) -> None:
    now = timezone.now()
    launch("double", numbers(3), by=acme, batch_size=1)
    launch("double", numbers(1), by=other, start_after=now + timedelta(minutes=1))
    dispatch.claim(worker="w", actions=["double"], now=now)
    Batch.objects.filter(status=BatchStatus.LEASED).update(leased_until=now - timedelta(seconds=1))
    ReadyRun.objects.all().delete()
    later = now + timedelta(minutes=2)
    first = recovery.sweep(now=later)
    assert (first.expired_leases, first.due_runs, first.lost_ready_runs) == (1, 1, 0)
    before = everything()
    second = recovery.sweep(now=later)
    assert (second.expired_leases, second.due_batches, second.due_runs, second.lost_ready_runs) == (0, 0, 0, 0)
    assert everything() == before


@pytest.mark.django_db(transaction=True)
def test_sweeps_at_once_set_each_thing_right_once(
    acme: Member, other: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    now = timezone.now()
    for by in (acme, other):
        for _ in range(4):
            launch("double", numbers(3), by=by, batch_size=1)
        launch("double", numbers(1), by=by, start_after=now + timedelta(minutes=1))
    for _ in range(12):
        dispatch.claim(worker="w", actions=["double"], now=now)
    Batch.objects.filter(status=BatchStatus.LEASED).update(leased_until=now - timedelta(seconds=1))
    ReadyRun.objects.all().delete()
    found = side_by_side(*[lambda: recovery.sweep(now=now + timedelta(minutes=2))] * 3)
    assert sum(one.expired_leases for one in found) == 12
    assert sum(one.due_runs for one in found) == 2
    work()
    assert set(Run.objects.values_list("status", flat=True)) == {"SUCCEEDED"}
    assert not RunProgress.objects.exclude(remaining=0).exists()


# --- Wakes ----------------------------------------------------------------------------------------------------


def wakes(bell: Any) -> int:
    return int(bell.llen(doorbell.RUNS.queue))


def test_rings_top_up_what_is_ready(acme: Member, double: ActionDefinition, bell: Any) -> None:
    launch("double", numbers(5), by=acme, batch_size=1)
    bell.delete(doorbell.RUNS.queue)
    assert recovery.sweep().rings == 5
    assert wakes(bell) == 5
    assert recovery.sweep().rings == 0
    bell.rpop(doorbell.RUNS.queue)
    assert recovery.sweep().rings == 1
    assert wakes(bell) == 5


def test_rings_leave_no_flood_behind(acme: Member, double: ActionDefinition, bell: Any) -> None:
    launch("double", numbers(200), by=acme, batch_size=1)
    bell.delete(doorbell.RUNS.queue)
    rung = sum(recovery.sweep().rings for _ in range(20))
    assert rung == wakes(bell) == recovery.MAX_WAKES_WAITING == 64


def test_nobody_is_woken_for_what_nobody_may_claim(acme: Member, double: ActionDefinition, bell: Any) -> None:
    launch("double", numbers(3), by=acme, batch_size=1)
    launch("double", numbers(3), by=acme, start_after=timezone.now() + timedelta(days=1))
    bell.delete(doorbell.RUNS.queue)
    Action.objects.update(paused=True)
    assert recovery.sweep().rings == 0
    assert wakes(bell) == 0
    Action.objects.update(paused=False)
    assert recovery.sweep().rings == 3


def test_a_broker_that_is_away_keeps_no_sweep_from_its_work(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    run = launch("double", numbers(1), by=acme, start_after=now + timedelta(minutes=1))
    monkeypatch.setattr(doorbell, "_silent_until", 0.0)
    monkeypatch.setattr(current_app.conf, "broker_url", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(current_app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    found = recovery.sweep(now=now + timedelta(minutes=2))
    assert (found.due_runs, found.rings) == (1, 0)
    assert reread(run).status == RunStatus.QUEUED


def test_a_stopped_runs_expired_batch_waits_with_it(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    lifecycle.move(run.pk, RunStatus.STOPPED, now=timezone.now())
    Batch.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert recovery.sweep().expired_leases == 1
    assert not ReadyRun.objects.exists()
    assert work() == 0


def test_a_part_that_fails_is_not_in_the_way_of_the_others(
    acme: Member, double: ActionDefinition, bell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch("double", numbers(1), by=acme)
    bell.delete(doorbell.RUNS.queue)

    def broken(**_: Any) -> int:
        raise RuntimeError("a defect")

    monkeypatch.setattr(lost_calls, "end_overdue", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        recovery.sweep()
    assert bell.llen(doorbell.RUNS.queue) == 1


def test_the_sweep_rings_for_live_calls_too(acme: Member, double: ActionDefinition, bell: Any) -> None:
    bell.delete(doorbell.LIVE.queue)
    stored(created_at=timezone.now() - timedelta(seconds=2))
    assert recovery.sweep().live_rings == 1
    assert bell.llen(doorbell.LIVE.queue) == 1
