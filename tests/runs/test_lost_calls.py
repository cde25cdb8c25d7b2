"""Live calls whose worker or caller is gone: each is ended once, with the label that tells why."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionDefinition
from runs import checkpoint, dispatch, lost_calls, recovery, siblings
from runs.checkpoint import LeaseLost, Outcome
from runs.leases import Lease
from runs.models import Batch, ResultChunk, Run, RunStatus
from tests.factories import Api, Member, outputs_of, reread
from tests.runs.live_worker import answers, assert_ended_once, claim, expire, stored
from workspaces.models import IdempotencyKey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_live_calls")]

SideBySide = Callable[..., list[Any]]


def test_a_call_whose_worker_went_silent_is_ended_once(acme: Member, double: ActionDefinition) -> None:
    run = stored()
    lease = claim()
    assert lease is not None
    assert lost_calls.end_overdue(now=timezone.now()) == 0  # it is at work
    expire()
    assert recovery.sweep().ended_live_calls == 1
    assert recovery.sweep().ended_live_calls == 0
    assert_ended_once(run, "WORKER_LOST")
    with pytest.raises(LeaseLost):
        checkpoint.write(lease, [Outcome(0, 1, 0.0, 0.0, outputs=[b"1"])], release=True)
    assert dispatch.renew(lease.batch_id, lease.attempt) is False
    assert_ended_once(run, "WORKER_LOST")


@pytest.mark.parametrize(("started_s_ago", "label"), [(66, "WORKER_LOST"), (90, "TIMEOUT")], ids=["died", "hung"])
def test_a_worker_that_lived_past_the_limit_took_too_long(
    acme: Member, double: ActionDefinition, settings: Any, started_s_ago: int, label: str
) -> None:
    """Both are found past the limit of 60 s; of the first nothing was heard in its last seconds."""
    settings.RUNYARD_LEASE_SECONDS = 15
    run = stored()
    claim()
    expire()
    Run.objects.update(started_at=timezone.now() - timedelta(seconds=started_s_ago))
    assert lost_calls.end_overdue(now=timezone.now()) == 1
    assert_ended_once(run, label)


def test_a_process_that_was_killed_at_the_limit_is_told_of_by_the_next(acme: Member, double: ActionDefinition) -> None:
    """It held the interpreter, so that it renewed nothing either."""
    run = stored()
    dispatch.claim_live(worker=dead_sibling(), actions=["double"], now=timezone.now())
    expire()
    Run.objects.update(started_at=timezone.now() - timedelta(seconds=61.1))
    assert lost_calls.end_overdue(now=timezone.now()) == 0
    assert lost_calls.end_calls_of_dead_siblings(now=timezone.now()) == 1
    assert_ended_once(run, "TIMEOUT")


def end(batch: Batch, **how: Any) -> bool:
    return lost_calls.end(batch, now=timezone.now(), seen_at=timezone.now(), **how)


def test_a_worker_that_renewed_or_ended_in_time_is_left_alone(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stored()
    lease = claim()
    assert lease is not None
    expire()
    overdue = list(Batch.objects.of_live_calls().overdue())
    dispatch.renew(lease.batch_id, lease.attempt)
    assert [end(batch, if_overdue=True) for batch in overdue] == [False]
    checkpoint.write(lease, [Outcome(0, 1, 0.0, 0.0, outputs=[b"1"])], release=True)
    assert [end(batch) for batch in overdue] == [False]
    assert (reread(run).status, outputs_of(run)) == (RunStatus.SUCCEEDED, [1])


def test_two_who_end_a_call_and_its_worker_at_once_record_one_end(
    acme: Member, double: ActionDefinition, side_by_side: SideBySide
) -> None:
    def record(lease: Lease) -> bool:
        try:
            checkpoint.write(lease, [Outcome(0, 1, 0.0, 0.0, outputs=[b"1"])], release=True)
        except LeaseLost:
            return False
        return True

    def end_all() -> bool:
        return sum(end(batch) for batch in Batch.objects.of_live_calls()) > 0

    for _ in range(12):
        run = stored()
        lease = claim()
        expire()
        won = side_by_side(
            end_all, end_all, lambda lease=lease: record(lease), lambda: lost_calls.end_overdue(now=timezone.now())
        )
        assert sum(won) == 1
        assert (reread(run).progress.remaining, reread(run).status) == (0, "SUCCEEDED" if won[2] else "FAILED")
        assert ResultChunk.objects.filter(run=run).count() == 1


def test_one_who_takes_over_from_another_who_took_over(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stored()
    claim()
    write, others = checkpoint.write, []

    def write_late(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(checkpoint, "write", write)
        others.append(end(Batch.objects.get()))
        write(*arguments, **named)

    monkeypatch.setattr(checkpoint, "write", write_late)
    assert end(Batch.objects.get()) is False
    assert others == [True]
    assert_ended_once(run, "WORKER_LOST")


def test_a_call_that_nobody_took_and_nobody_waits_for_is_ended(
    acme: Member, double: ActionDefinition, settings: Any
) -> None:
    settings.RUNYARD_LIVE_WAIT_SECONDS, settings.RUNYARD_LEASE_SECONDS = 5, 10
    now = timezone.now()
    waiting, forgotten = stored(created_at=now - timedelta(seconds=14)), stored(created_at=now - timedelta(seconds=16))
    assert lost_calls.end_overdue(now=now) == 1
    assert_ended_once(forgotten, "WORKER_LOST")
    assert reread(waiting).status == RunStatus.QUEUED
    assert claim().run_id == waiting.pk
    assert claim() is None


def test_the_key_of_a_call_that_nobody_took_is_free_again_and_that_of_a_lost_one_is_not(
    acme: Member, double: ActionDefinition, settings: Any
) -> None:
    settings.RUNYARD_LIVE_WAIT_SECONDS, settings.RUNYARD_LEASE_SECONDS = 5, 10
    now = timezone.now()
    lost = stored()
    claim()
    expire()
    never_begun = stored(created_at=now - timedelta(seconds=16))
    for run in (lost, never_begun):
        kept = {"endpoint": "double/live", "key": str(run.uid), "body_hash": b"", "status_code": 0, "created_at": now}
        IdempotencyKey.objects.create(membership=acme.membership, stored_uid=run.uid, **kept)
    assert lost_calls.end_overdue(now=timezone.now()) == 2
    assert [key.stored_uid for key in IdempotencyKey.objects.all()] == [lost.uid]


def test_one_who_died_between_taking_over_and_recording_is_followed_by_the_next(
    acme: Member, double: ActionDefinition
) -> None:
    run = stored()
    lease = claim()
    assert lease is not None
    assert dispatch.take_over(lease.batch_id, lease.attempt) is not None
    assert lost_calls.end_overdue(now=timezone.now()) == 0
    expire()
    assert lost_calls.end_overdue(now=timezone.now()) == 1
    assert_ended_once(run, "WORKER_LOST")


def dead_sibling() -> str:
    """Return the name of a process of this worker that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return f"{socket.gethostname()}:{siblings.POOL}:{process.pid}"


def test_calls_of_a_dead_process_are_ended_by_the_one_that_takes_its_place(
    acme: Member, double: ActionDefinition
) -> None:
    workers = {
        "dead": dead_sibling(),
        "alive": siblings.worker_name(),
        "another worker's": dead_sibling().replace(siblings.POOL, "another"),
        "another machine's": f"other{dead_sibling()}",
    }
    runs = {}
    for whose, name in workers.items():
        runs[whose] = stored()
        assert dispatch.claim_live(worker=name, actions=["double"], now=timezone.now()) is not None
    assert lost_calls.end_calls_of_dead_siblings(now=timezone.now()) == 1
    assert lost_calls.end_calls_of_dead_siblings(now=timezone.now()) == 0
    assert_ended_once(runs.pop("dead"), "WORKER_LOST")
    assert {reread(run).status for run in runs.values()} == {RunStatus.RUNNING}


def test_who_waits_hears_of_the_end_from_the_sweep(api: Api, double: ActionDefinition) -> None:
    def work() -> bool:
        if claim() is None:
            return False
        expire()
        return bool(lost_calls.end_overdue(now=timezone.now()))

    (answer,) = answers(lambda: api.post("/v1/actions/double/live", {"input": {"n": 1}}), work=work)
    assert (answer.status_code, answer.json()["error_label"]) == (424, "WORKER_LOST")


def test_a_call_that_cannot_be_ended_is_not_in_the_way_of_the_others(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = stored(), stored()
    claim(), claim()
    expire()
    what_happened = lost_calls._what_happened

    def broken_for_the_first(run: Run, **how: Any) -> Any:
        if run.pk == first.pk:
            raise RuntimeError("a defect")
        return what_happened(run, **how)

    monkeypatch.setattr(lost_calls, "_what_happened", broken_for_the_first)
    assert lost_calls.end_overdue(now=timezone.now()) == 1
    assert_ended_once(second, "WORKER_LOST")
