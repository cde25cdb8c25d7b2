"""Cancelling: from the answer on nothing of the run moves, whatever its workers are at."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionDefinition
from rest.errors import Conflict, NotFound
from runs import cancellation, checkpoint, dispatch, recovery
from runs.checkpoint import LeaseLost, Outcome
from runs.leases import Lease
from runs.lifecycle import By
from runs.models import Actor, Batch, BatchStatus, ExecutionMode, ReadyRun, Run, RunProgress, RunStatus
from tests.factories import Api, Member, counts, inputs_of, launch, member, numbers, outputs_of, reread, work

pytestmark = pytest.mark.django_db
UNFINISHED = ["CREATED", "SCHEDULED", "QUEUED", "BLOCKED", "RUNNING"]


def claim() -> Lease:
    lease = dispatch.claim(worker="test:1", actions=["double"], now=timezone.now())
    assert lease is not None
    return lease


def ok(offset: int) -> Outcome:
    return Outcome(offset, 1, time.time(), time.time(), outputs=[b"%d" % offset])


def cancel(run: Run, by: Member) -> Run:
    return cancellation.cancel(run, by=By(Actor.MEMBER, by.user.uid), now=timezone.now())


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
