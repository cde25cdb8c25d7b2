"""What runs show that wait for a limit of their action: BLOCKED, why, and until when where that is known."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from actions.models import Action
from runs import cancellation, checkpoint, dispatch, execution, recovery, resumption
from runs.lifecycle import By
from runs.models import ActionGate, Actor, ReadyRun, Run, RunStatus
from tests.factories import Member, counts, define, inputs_of, launch, numbers, reread, work
from tests.runs.steps import claim

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(seconds=10)


@pytest.fixture
def run(acme: Member) -> Run:
    define("process", lambda n: n, max_concurrency=1)
    return launch("act", numbers(4), by=acme, batch_size=2)


def let_wait() -> None:
    """Have all runs in line wait for longer than is worth telling."""
    ReadyRun.objects.update(waiting_since=timezone.now() - LONG_AGO)


def timeline(run: Run) -> list[tuple[str, str]]:
    return [(one.to_status, one.reason) for one in run.transitions.order_by("pk")]


@pytest.mark.parametrize(
    ("state", "undone", "label"),
    [
        ({"paused": True}, {"paused": False}, "ACTION_PAUSED"),
        ({"enabled": False}, {"enabled": True}, "ACTION_SWITCHED_OFF"),
    ],
    ids=["paused", "off"],
)
def test_a_run_of_an_action_that_is_paused_or_off(
    run: Run, state: dict[str, bool], undone: dict[str, bool], label: str
) -> None:
    Action.objects.filter(name="act").update(**state)
    assert recovery.sweep().blocked_runs == 1
    run = reread(run)
    assert (run.status, run.postponed_until, run.last_error["label"]) == (RunStatus.BLOCKED, None, label)
    assert "'act'" in run.last_error["message"]
    assert {one["status"] for one in inputs_of(run)} == {"BLOCKED"}
    assert recovery.sweep() == recovery.Found()

    Action.objects.filter(name="act").update(**undone)
    assert recovery.sweep().unblocked_runs == 1
    run = reread(run)
    assert (run.status, run.last_error) == (RunStatus.QUEUED, None)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.SUCCEEDED, (4, 0, 0, 0))


def test_a_run_that_was_begun_when_its_action_was_paused(run: Run) -> None:
    lease = claim("act")
    Action.objects.filter(name="act").update(paused=True)
    assert recovery.sweep().blocked_runs == 0  # a worker is at it
    assert reread(run).status == RunStatus.RUNNING
    execution.execute(lease, stop_at=float("inf"))
    assert recovery.sweep().blocked_runs == 1
    assert (reread(run).status, counts(run)) == (RunStatus.BLOCKED, (2, 0, 0, 2))


def test_a_launch_of_a_paused_action_is_blocked_from_the_start(acme: Member, run: Run) -> None:
    Action.objects.filter(name="act").update(paused=True)
    later = reread(launch("act", numbers(1), by=acme))
    assert (later.status, later.last_error["label"]) == (RunStatus.BLOCKED, "ACTION_PAUSED")
    Action.objects.filter(name="act").update(paused=False)
    work()  # without a sweep in between: it is in line
    assert (reread(later).status, reread(later).last_error) == (RunStatus.SUCCEEDED, None)


def test_a_run_that_waits_for_others_to_end(acme: Member, run: Run) -> None:
    other = launch("act", numbers(2), by=acme, batch_size=2)
    lease = claim("act")
    assert lease.run_id == run.pk
    assert recovery.sweep().blocked_runs == 0  # it may be served in a moment
    let_wait()
    assert recovery.sweep().blocked_runs == 1
    blocked = reread(other)
    assert (blocked.status, blocked.postponed_until, blocked.last_error) == (RunStatus.BLOCKED, None, None)
    assert timeline(other)[-1] == ("BLOCKED", "as many batches of the action are executed as may be at once")
    assert reread(run).status == RunStatus.RUNNING

    execution.execute(lease, stop_at=float("inf"))
    work()
    assert [reread(one).status for one in (run, other)] == [RunStatus.SUCCEEDED] * 2
    assert [status for status, _ in timeline(other)] == ["CREATED", "QUEUED", "BLOCKED", "RUNNING", "SUCCEEDED"]


def test_a_run_that_waits_for_its_rate_says_until_when(acme: Member) -> None:
    define("process", lambda n: n, rate="3/h")
    run = launch("act", numbers(8), by=acme, batch_size=2)
    work()
    assert recovery.sweep().blocked_runs == 1  # an hour is worth telling at once
    run = reread(run)
    closed_until = ActionGate.objects.get().closed_until
    assert (run.status, run.postponed_until, run.last_error) == (RunStatus.BLOCKED, closed_until, None)
    assert timeline(run)[-1][1] == "the rate of the action is used up"
    assert recovery.sweep() == recovery.Found()

    ActionGate.objects.update(begun=[], closed_until=timezone.now() - LONG_AGO)
    work()
    recovery.sweep()
    assert (reread(run).status, counts(run)) == (RunStatus.BLOCKED, (6, 0, 0, 2))
    assert reread(run).postponed_until == ActionGate.objects.get().closed_until


def test_another_limit_is_told_when_it_takes_the_place_of_the_first(acme: Member) -> None:
    define("process", lambda n: n, rate="3/h")
    run = launch("act", numbers(8), by=acme, batch_size=2)
    Action.objects.filter(name="act").update(paused=True)
    recovery.sweep()
    ActionGate.objects.create(
        action_id=run.action_id, closed_until=timezone.now() + timedelta(hours=1), closed_by="3/h "
    )
    Action.objects.filter(name="act").update(paused=False)
    recovery.sweep()
    told = reread(run)
    assert (told.status, told.last_error) == (RunStatus.BLOCKED, None)
    assert told.postponed_until == ActionGate.objects.get().closed_until


def test_a_run_that_was_claimed_as_it_was_blocked(run: Run) -> None:
    """The sweep saw nothing in hand, and the claim saw RUNNING: neither is lost."""
    lease = claim("act")
    Run.objects.filter(pk=run.pk).update(status=RunStatus.BLOCKED)
    assert recovery.sweep().unblocked_runs == 1
    assert reread(run).status == RunStatus.RUNNING

    Run.objects.filter(pk=run.pk).update(status=RunStatus.BLOCKED)
    checkpoint.write(lease, [], release=True)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.SUCCEEDED, (4, 0, 0, 0))


def test_its_last_result_ends_a_run_that_was_blocked_meanwhile(acme: Member) -> None:
    define("process", lambda n: n)
    run = launch("act", numbers(1), by=acme)
    lease = claim("act")
    Run.objects.filter(pk=run.pk).update(status=RunStatus.BLOCKED)
    execution.execute(lease, stop_at=float("inf"))
    assert reread(run).status == RunStatus.SUCCEEDED


def test_a_lease_that_runs_out_leaves_a_blocked_run_in_line(run: Run) -> None:
    claim("act", worker="w")
    Run.objects.filter(pk=run.pk).update(status=RunStatus.BLOCKED)
    ReadyRun.objects.all().delete()
    dispatch.take_from_dead(["w"])
    assert ReadyRun.objects.filter(run=run).exists()


@pytest.mark.parametrize("then", ["cancel", "resume"])
def test_a_blocked_run_can_be_cancelled_and_looked_at_again(acme: Member, run: Run, then: str) -> None:
    by: dict[str, Any] = {"by": By(Actor.MEMBER, acme.user.uid), "now": timezone.now()}
    Action.objects.filter(name="act").update(paused=True)
    recovery.sweep()
    if then == "cancel":
        assert cancellation.cancel(reread(run), **by).status == RunStatus.STOPPED
        assert not ReadyRun.objects.exists()
        assert recovery.sweep() == recovery.Found()
    resumed = resumption.resume(reread(run), **by)
    assert (resumed.status, resumed.last_error) == (RunStatus.SCHEDULED, None)
    assert recovery.sweep().blocked_runs == 1
    Action.objects.filter(name="act").update(paused=False)
    work()
    assert reread(run).status == RunStatus.SUCCEEDED


def test_a_run_whose_last_batch_was_claimed_as_it_was_blocked(acme: Member) -> None:
    define("process", lambda n: n)
    run = launch("act", numbers(1), by=acme)
    claim("act")
    Run.objects.filter(pk=run.pk).update(status=RunStatus.BLOCKED)
    assert recovery.sweep().unblocked_runs == 1
    assert reread(run).status == RunStatus.RUNNING


def test_a_time_that_is_no_longer_the_reason_is_taken_back(acme: Member, run: Run) -> None:
    launch("act", numbers(2), by=acme, batch_size=2)
    claim("act")
    let_wait()
    recovery.sweep()
    waiting = Run.objects.filter(status=RunStatus.BLOCKED)
    waiting.update(postponed_until=timezone.now() + timedelta(hours=1))
    recovery.sweep()
    assert [one.postponed_until for one in waiting] == [None]


def test_switched_off_takes_the_place_of_paused(run: Run) -> None:
    Action.objects.filter(name="act").update(paused=True)
    recovery.sweep()
    Action.objects.filter(name="act").update(paused=False, enabled=False)
    recovery.sweep()
    assert reread(run).last_error["label"] == "ACTION_SWITCHED_OFF"


def test_a_slot_that_is_free_for_a_moment_writes_no_lines(acme: Member, run: Run) -> None:
    other = launch("act", numbers(2), by=acme, batch_size=2)
    for _ in range(3):
        lease = claim("act")
        let_wait()
        recovery.sweep()
        checkpoint.write(lease, [], release=True)
        recovery.sweep()
    assert [status for status, _ in timeline(other)].count("QUEUED") == 1
    assert len(timeline(other)) <= 5


def test_a_limit_that_is_taken_away_is_told(acme: Member) -> None:
    define("process", lambda n: n)
    run = launch("act", numbers(4), by=acme, batch_size=2)
    Action.objects.filter(name="act").update(max_concurrency=1)
    lease = claim("act")
    other = launch("act", numbers(2), by=acme)
    let_wait()
    recovery.sweep()
    assert reread(other).status == RunStatus.BLOCKED
    Action.objects.filter(name="act").update(max_concurrency=None)
    recovery.sweep()
    assert reread(other).status == RunStatus.QUEUED
    assert lease.run_id == run.pk
