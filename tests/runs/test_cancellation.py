"""Cancelling: from the answer on nothing of the run moves, whatever its workers are at."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionDefinition, ActionError
from rest.errors import Conflict, NotFound
from runs import checkpoint, dispatch, execution, recovery, resumption
from runs.checkpoint import LeaseLost, Outcome, RunStopped
from runs.leases import Lease
from runs.lifecycle import By
from runs.models import Actor, Batch, BatchStatus, ExecutionMode, ReadyRun, Run, RunProgress, RunStatus
from tests.factories import Api, Member, counts, define, inputs_of, launch, member, numbers, outputs_of, reread, work
from tests.runs.steps import cancel, claim, ok

pytestmark = pytest.mark.django_db
UNFINISHED = ["CREATED", "SCHEDULED", "QUEUED", "BLOCKED", "RUNNING"]


def everything(run: Run) -> list[Any]:
    return [list(RunProgress.objects.filter(run=run).values()), list(Run.objects.filter(pk=run.pk).values()),
            list(run.transitions.values()), outputs_of(run), inputs_of(run)]  # fmt: skip


@pytest.mark.parametrize("status", UNFINISHED)
def test_whatever_is_unfinished_stops(api: Api, acme: Member, double: ActionDefinition, status: str) -> None:
    run = launch("double", [*numbers(3), {}], by=acme)
    Run.objects.filter(pk=run.pk).update(status=status, postponed_until=timezone.now() + timedelta(hours=1))
    answer = api.post(f"/v1/runs/{run.uid}/cancel", {})
    assert (answer.status_code, answer.json()["status"], answer.json()["postponed_until"]) == (200, "STOPPED", None)
    assert answer.json() == api.get(f"/v1/runs/{run.uid}").json()
    assert [one["status"] for one in inputs_of(run)] == ["STOPPED"] * 3 + ["FAILED"]
    assert not ReadyRun.objects.exists()
    line = api.get(f"/v1/runs/{run.uid}/timeline").json()[-1]
    assert (line["from_status"], line["to_status"], line["actor"], line["actor_uid"], line["reason"]) == (
        status, "STOPPED", "member", str(acme.user.uid), "cancelled",
    )  # fmt: skip


def test_a_second_cancel_changes_nothing(api: Api, acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme)
    first = api.post(f"/v1/runs/{run.uid}/cancel", b"")
    before = everything(run)
    again = api.post(f"/v1/runs/{run.uid}/cancel", b"")
    assert (again.status_code, again.json()) == (200, first.json())
    assert everything(run) == before


@pytest.mark.parametrize("status", ["SUCCEEDED", "PARTIAL_SUCCEEDED", "FAILED", "INVALID"])
def test_what_has_ended_cannot_be_cancelled(api: Api, acme: Member, double: ActionDefinition, status: str) -> None:
    run = launch("double", numbers(1), by=acme)
    work()
    Run.objects.filter(pk=run.pk).update(status=status)
    before = everything(run)
    answer = api.post(f"/v1/runs/{run.uid}/cancel", {})
    assert (answer.status_code, answer.json()["error_label"]) == (409, "CONFLICT")
    assert (answer.json()["error_scope"], answer.json()["params"]) == ("run", {"status": status})
    assert everything(run) == before


@pytest.mark.parametrize("status", ["QUEUED", "RUNNING", "SUCCEEDED", "STOPPED"])
def test_live_calls_cannot_be_cancelled(api: Api, acme: Member, double: ActionDefinition, status: str) -> None:
    run = launch("double", numbers(1), by=acme)
    Run.objects.filter(pk=run.pk).update(execution_mode=ExecutionMode.LIVE, status=status)
    answer = api.post(f"/v1/runs/{run.uid}/cancel", {})
    assert (answer.status_code, answer.json()["params"]) == (409, {"status": status})


def test_who_may_cancel(acme: Member, other: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    reader = member("Acme", "eve@acme.test", role="USER")
    read_only = member("Acme", "bob@acme.test", scopes=["read"])
    path = f"/v1/runs/{run.uid}/cancel"
    answers = [Api(key).post(path, {}).status_code for key in (None, reader.key, read_only.key, other.key)]
    assert answers == [401, 403, 403, 404]
    assert reread(run).status == RunStatus.QUEUED
    assert Api(acme.key).get(path).status_code == 405
    assert Api(acme.key).post(f"{path}?force=true", {}).status_code == 400


def test_a_worker_in_the_middle_records_nothing(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(6), by=acme, batch_size=3)
    lease, silent = claim(), claim()
    checkpoint.write(lease, [ok(0)], release=False)
    stopped = cancel(run, acme)
    assert (stopped.progress.succeeded_count, stopped.progress.remaining) == (1, 5)
    before = everything(run)
    assert not dispatch.renew(lease.batch_id, lease.attempt)
    for late in (lease, silent):
        for release in (False, True):
            with pytest.raises(LeaseLost):
                checkpoint.write(late, [ok(1), ok(2)], release=release)
    assert set(Batch.objects.values_list("status", "leased_until", "worker")) == {(BatchStatus.READY, None, "")}
    recovery.sweep(now=timezone.now() + timedelta(days=1))
    assert work() == 0
    assert everything(run) == before
    assert set(Batch.objects.values_list("crash_count", flat=True)) == {0}


def test_batches_that_wait_wait_no_longer_for_anything(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    later = Outcome(0, 1, time.time(), time.time(), retry_at=time.time() + 60)
    checkpoint.write(claim(), [later], release=True)
    assert reread(run).status == RunStatus.SCHEDULED
    cancel(run, acme)
    before = everything(run)
    recovery.sweep(now=timezone.now() + timedelta(hours=1))
    assert work() == 0
    assert everything(run) == before


def test_a_run_that_is_gone(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    Run.objects.filter(pk=run.pk).delete()
    with pytest.raises(NotFound):
        cancel(run, acme)


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_saw_the_run_before_is_fenced_by_the_epoch(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch, side_by_side: Callable[..., list[Any]]
) -> None:
    """The batch is claimed while the cancel has looked at what is leased already: it stays leased, and is fenced."""
    run = launch("double", numbers(2), by=acme, batch_size=2)
    lock_batches = dispatch.lock_batches
    claimed: list[Lease] = []

    def claim_after_the_look(*arguments: Any, **options: Any) -> list[int]:
        found = lock_batches(*arguments, **options)
        claimed.extend(side_by_side(claim))
        return found

    monkeypatch.setattr(dispatch, "lock_batches", claim_after_the_look)
    cancel(run, acme)
    assert reread(run).status == RunStatus.STOPPED
    before = everything(run)
    with pytest.raises(LeaseLost):
        checkpoint.write(claimed[0], [ok(0), ok(1)], release=True)
    assert everything(run) == before


@pytest.mark.django_db(transaction=True)
def test_cancels_claims_and_checkpoints_at_once(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    """Nobody deadlocks, and from the answer on no count moves."""
    for _ in range(8):
        run = launch("double", numbers(6), by=acme, batch_size=1)
        leases = [claim() for _ in range(4)]

        def stop() -> tuple[int, ...] | None:
            try:
                progress = cancel(run, acme).progress  # noqa: B023
            except Conflict:
                return None
            return progress.succeeded_count, progress.failed_count, progress.invalid_count, progress.remaining

        def record(lease: Lease) -> bool:
            try:
                checkpoint.write(lease, [ok(0)], release=True)
            except LeaseLost:
                return False
            return True

        def go_on() -> None:
            while lease := dispatch.claim(worker="late:1", actions=["double"], now=timezone.now()):
                record(lease)

        seen, twice, _, *recorded = side_by_side(
            stop, stop, go_on, *(lambda lease=lease: record(lease) for lease in leases)
        )
        run = reread(run)
        if seen is None:
            assert (run.status, counts(run)) == (RunStatus.SUCCEEDED, (6, 0, 0, 0))
        else:
            assert (run.status, counts(run)) == (RunStatus.STOPPED, seen)
            assert twice == seen
            assert sum(recorded) <= seen[0] == len(outputs_of(run))
            assert run.transitions.filter(to_status="STOPPED").count() == 1


# --- Stopped by the system ------------------------------------------------------------------------------------


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, settings: Any) -> set[int]:
    """The inputs that `act` fails. A run is stopped after five failures."""
    settings.RUNYARD_MAX_CONSECUTIVE_FAILURES = 5
    failing: set[int] = set(range(1_000))

    def body(n: int) -> int:
        if n in failing:
            raise ActionError("BROKEN", "it is broken")
        return n

    define("process", body)
    return failing


def test_a_run_that_only_fails_is_stopped_and_can_be_resumed(acme: Member, fails: set[int]) -> None:
    run = launch("act", numbers(12), by=acme, batch_size=2)
    work()
    stopped = reread(run)
    assert (stopped.status, counts(run)) == (RunStatus.STOPPED, (0, 6, 0, 6))
    assert stopped.last_error["label"] == "TOO_MANY_FAILURES"
    assert stopped.last_error["params"] == {"failures": 6, "setting": "RUNYARD_MAX_CONSECUTIVE_FAILURES"}
    assert stopped.finished_at is None
    last = run.transitions.order_by("pk").last()
    assert (last.actor, last.reason) == ("system", "too many failures in a row")
    assert not ReadyRun.objects.exists()
    assert recovery.sweep() == recovery.Found()

    fails.clear()
    resumption.resume(stopped, by=By(Actor.MEMBER, acme.user.uid), now=timezone.now())
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (6, 6, 0, 0))


def test_failures_are_counted_anew_after_a_resume(acme: Member, fails: set[int]) -> None:
    run = launch("act", numbers(20), by=acme, batch_size=1)
    work()
    assert counts(run) == (0, 5, 0, 15)
    resumption.resume(reread(run), by=By(Actor.MEMBER, acme.user.uid), now=timezone.now())
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.STOPPED, (0, 10, 0, 10))


def test_a_single_success_lets_the_run_go_on(acme: Member, fails: set[int]) -> None:
    fails.discard(1)
    run = launch("act", numbers(20), by=acme, batch_size=1)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (1, 19, 0, 0))


@pytest.mark.parametrize(("size", "limit"), [(5, 5), (20, None)], ids=["nothing is left", "switched off"])
def test_a_run_that_fails_to_its_end(
    acme: Member, fails: set[int], settings: Any, size: int, limit: int | None
) -> None:
    settings.RUNYARD_MAX_CONSECUTIVE_FAILURES = limit
    run = launch("act", numbers(size), by=acme, batch_size=1)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.FAILED, (0, size, 0, 0))


def test_another_worker_of_a_run_that_was_stopped_records_nothing(acme: Member, fails: set[int]) -> None:
    run = launch("act", numbers(12), by=acme, batch_size=6)
    mine, theirs = (dispatch.claim(worker=name, actions=["act"], now=timezone.now()) for name in ("a", "b"))
    assert mine is not None
    assert theirs is not None
    execution.execute(mine, stop_at=float("inf"))
    assert reread(run).status == RunStatus.STOPPED
    with pytest.raises(LeaseLost):
        checkpoint.write(theirs, [Outcome(0, 1, time.time(), time.time(), outputs=[b"0"])], release=True)
    assert counts(run) == (0, 6, 0, 6)


def test_the_worker_that_stopped_a_run_goes_no_further_in_its_batch(acme: Member, fails: set[int]) -> None:
    run = launch("act", numbers(8), by=acme, batch_size=8)
    lease = dispatch.claim(worker="a", actions=["act"], now=timezone.now())
    assert lease is not None
    now = time.time()
    failures = [Outcome(n, 1, now, now, error={"label": "BROKEN"}) for n in range(5)]
    with pytest.raises(RunStopped):
        checkpoint.write(lease, failures, release=False)
    assert (reread(run).status, counts(run)) == (RunStatus.STOPPED, (0, 5, 0, 3))
    assert Batch.objects.get(run=run).status == BatchStatus.READY
    with pytest.raises(LeaseLost):
        checkpoint.write(lease, [], release=True)


def test_what_another_worker_had_in_hand_is_let_go(acme: Member, fails: set[int]) -> None:
    run = launch("act", numbers(12), by=acme, batch_size=6)
    mine, theirs = (dispatch.claim(worker=name, actions=["act"], now=timezone.now()) for name in ("a", "b"))
    assert mine is not None
    assert theirs is not None
    execution.execute(mine, stop_at=float("inf"))
    assert Batch.objects.filter(run=run, status=BatchStatus.LEASED).exists()
    execution.execute(theirs, stop_at=float("inf"))
    assert not Batch.objects.filter(run=run, status=BatchStatus.LEASED).exists()
    assert (reread(run).status, counts(run)) == (RunStatus.STOPPED, (0, 6, 0, 6))
