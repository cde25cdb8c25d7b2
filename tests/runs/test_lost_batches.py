"""Batches of processes that died or are being ended go back at once, and nobody else's do."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionDefinition
from runs import checkpoint, dispatch, doorbell, lost_batches, siblings
from runs.models import Batch, BatchStatus, ReadyRun, Run
from tests.factories import Member, launch, numbers
from tests.runs.live_worker import stored

pytestmark = pytest.mark.django_db(transaction=True)


def dead_sibling() -> str:
    """Return the name of a process of this worker that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return f"{siblings.pool_prefix()}{process.pid}"


def held(run: Run, worker: str) -> None:
    assert dispatch.claim(worker=worker, actions=["double"], now=timezone.now()) is not None
    assert Batch.objects.filter(run=run, status=BatchStatus.LEASED).exists()


def still_held() -> set[str]:
    return set(Batch.objects.filter(status=BatchStatus.LEASED).values_list("worker", flat=True))


def others() -> set[str]:
    return {dead_sibling().replace(siblings.POOL, "another"), f"other{dead_sibling()}", ""}


def test_the_dead_ones_batches_are_ready_and_a_crash(acme: Member, double: ActionDefinition, bell: Any) -> None:
    alive = {siblings.worker_name(), *others()}
    for worker in [*alive, dead_sibling()]:
        held(launch("double", numbers(2), by=acme, batch_size=2), worker)
    bell.delete(doorbell.RUNS.queue)
    assert lost_batches.hand_back_of_dead_siblings() == 1
    assert lost_batches.hand_back_of_dead_siblings() == 0
    assert still_held() == alive
    batch = Batch.objects.get(status=BatchStatus.READY, attempt=1)
    assert (batch.crash_count, batch.careful, batch.worker, batch.leased_until) == (1, True, "", None)
    assert ReadyRun.objects.filter(pk=batch.run_id).exists()
    assert bell.llen(doorbell.RUNS.queue) == 1


def test_all_of_a_worker_that_stops_are_ready_and_no_crash(acme: Member, double: ActionDefinition, bell: Any) -> None:
    foreign = others()
    for worker in [*foreign, siblings.worker_name(), dead_sibling()]:
        held(launch("double", numbers(2), by=acme, batch_size=2), worker)
    assert lost_batches.hand_back_before_stop() == 2
    assert lost_batches.hand_back_before_stop() == 0
    assert still_held() == foreign
    assert not Batch.objects.exclude(crash_count=0, careful=False).exists()


def test_who_was_handed_back_records_nothing(acme: Member, double: ActionDefinition) -> None:
    launch("double", numbers(2), by=acme, batch_size=2)
    lease = dispatch.claim(worker=dead_sibling(), actions=["double"], now=timezone.now())
    assert lease is not None
    lost_batches.hand_back_of_dead_siblings()
    assert not dispatch.renew(lease.batch_id, lease.attempt)
    with pytest.raises(checkpoint.LeaseLost):
        checkpoint.write(lease, [checkpoint.Outcome(0, 1, 0.0, 1.0, outputs=[b"1"])], release=False)


@pytest.mark.usefixtures("no_live_calls")
def test_live_calls_are_not_executed_again(acme: Member, double: ActionDefinition) -> None:
    stored()
    assert dispatch.claim_live(worker=dead_sibling(), actions=["double"], now=timezone.now()) is not None
    assert lost_batches.hand_back_of_dead_siblings() == 0
    assert lost_batches.hand_back_before_stop() == 0
    assert Batch.objects.get().status == BatchStatus.LEASED
