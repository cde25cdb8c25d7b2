"""Recording exactly once: whatever is late, doubled or lost, each input has one result and the numbers add up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions import ActionDefinition
from runs import checkpoint, dispatch, lifecycle, recovery
from runs.checkpoint import LeaseLost, Outcome
from runs.leases import Lease
from runs.models import TERMINAL, Batch, BatchStatus, ResultChunk, Run, RunProgress, RunStatus
from tests.factories import Member, counts, inputs_of, launch, numbers, outputs_of, reread
from tests.runs.steps import claim

pytestmark = pytest.mark.django_db
NOW = 1_800_000_000.0


def ok(offset: int, *outputs: Any, attempt: int = 1) -> Outcome:
    lines = [json.dumps(one).encode() for one in outputs or (offset,)]
    return Outcome(offset, attempt, NOW, NOW + 1, outputs=lines)


def bad(offset: int) -> Outcome:
    error = {"label": "NO", "error_label": "NO", "message": "no", "scope": "action", "params": {}, "error_ref": "r"}
    return Outcome(offset, 1, NOW, NOW + 1, error=error)


def later(offset: int, after_s: float, attempt: int = 1) -> Outcome:
    return Outcome(offset, attempt, NOW, NOW, retry_at=timezone.now().timestamp() + after_s)


def write(lease: Lease, *outcomes: Outcome, release: bool = False) -> None:
    checkpoint.write(lease, outcomes, release=release)


def test_results_batch_and_counters_move_together(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(4), by=acme, batch_size=4)
    lease = claim()
    write(lease, ok(0), bad(2))
    batch = Batch.objects.get()
    assert (batch.checkpoint, batch.status) == (1, BatchStatus.LEASED)
    assert (counts(run), reread(run).status) == ((1, 1, 0, 2), RunStatus.RUNNING)
    assert lease.checkpoint == 1
    assert lease.done.missing() == [1, 3]
    write(lease, ok(1), ok(3, "a", "b"), release=True)
    run = reread(run)
    assert (run.status, counts(run), run.progress.output_count) == (RunStatus.PARTIAL_SUCCEEDED, (3, 1, 0, 0), 4)
    assert Batch.objects.get().status == BatchStatus.DONE
    assert outputs_of(run) == [0, 1, "a", "b"]


def test_results_in_any_order_are_read_in_the_order_of_the_inputs(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(5), by=acme, batch_size=5)
    lease = claim()
    write(lease, ok(4), ok(1))
    write(lease, ok(3), ok(0))
    write(lease, ok(2), release=True)
    assert outputs_of(run) == [0, 1, 2, 3, 4]
    assert [one["status"] for one in inputs_of(run)] == ["SUCCEEDED"] * 5


def test_an_empty_checkpoint_keeps_everything(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=2)
    write(claim(), release=True)
    assert (counts(run), Batch.objects.get().status) == ((0, 0, 0, 2), BatchStatus.READY)
    assert not ResultChunk.objects.exists()
    assert claim().attempt == 2


# --- Fences ---------------------------------------------------------------------------------------------------


def nothing_changed(lease: Lease, *outcomes: Outcome, release: bool = True) -> None:
    """See that a checkpoint is refused and leaves every row as it was."""
    before = (list(Batch.objects.values()), list(RunProgress.objects.values()), list(Run.objects.values()))
    chunks = ResultChunk.objects.count()
    with pytest.raises(LeaseLost):
        write(lease, *outcomes, release=release)
    assert (list(Batch.objects.values()), list(RunProgress.objects.values()), list(Run.objects.values())) == before
    assert ResultChunk.objects.count() == chunks


@pytest.mark.parametrize("release", [True, False])
def test_a_lost_lease_writes_nothing(acme: Member, double: ActionDefinition, release: bool) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=2)
    lost = claim()
    Batch.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    dispatch.expire_leases()
    nothing_changed(lost, ok(0), ok(1), release=release)  # nobody has it
    taken = claim()
    nothing_changed(lost, ok(0), ok(1), release=release)  # another has it
    write(taken, ok(0), ok(1), release=True)
    nothing_changed(lost, ok(0), ok(1), release=release)  # another has ended it
    assert counts(run) == (2, 0, 0, 0)


@pytest.mark.parametrize("release", [True, False])
def test_an_older_epoch_writes_nothing(acme: Member, double: ActionDefinition, release: bool) -> None:
    launch("double", numbers(2), by=acme, batch_size=2)
    lease = claim()
    write(lease, ok(0))
    RunProgress.objects.update(epoch=1)
    nothing_changed(lease, ok(1), release=release)
    nothing_changed(lease, later(1, 60), release=release)
    nothing_changed(lease, release=True)


def test_an_old_checkpoint_of_the_same_lease_writes_nothing(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(3), by=acme, batch_size=3)
    lease = claim()
    stale = Lease(**{name: getattr(lease, name) for name in Lease.__slots__})
    write(lease, ok(0))
    nothing_changed(stale, ok(0), release=False)
    assert counts(run) == (1, 0, 0, 2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
@pytest.mark.parametrize("release", [True, False])
def test_a_checkpoint_whose_answer_got_lost_counts_once(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch, moment: str, release: bool
) -> None:
    run = launch("double", numbers(3), by=acme, batch_size=3)
    lease = claim()
    commit = connection.commit
    tries = 0

    def lose_the_first_answer() -> None:
        nonlocal tries
        tries += 1
        if tries == 1 and moment == "before the commit":
            connection.connection.close()  # the server rolls back
            raise OperationalError("the connection is gone")
        commit()
        if tries == 1:
            raise OperationalError("the connection is gone")

    monkeypatch.setattr(connection, "commit", lose_the_first_answer)
    write(lease, ok(0), ok(1), release=release)
    monkeypatch.undo()
    assert (counts(run), ResultChunk.objects.count()) == ((2, 0, 0, 1), 1)
    assert Batch.objects.get().status == (BatchStatus.READY if release else BatchStatus.LEASED)
    if not release:
        write(lease, ok(2), release=True)
        assert (counts(run), reread(run).status) == ((3, 0, 0, 0), RunStatus.SUCCEEDED)


@pytest.mark.django_db(transaction=True)
def test_a_backend_that_is_ended_under_a_worker(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=2)
    lease = claim()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]

    def end_it() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        connection.close()

    thread = threading.Thread(target=end_it)
    thread.start()
    thread.join(10)
    write(lease, ok(0), ok(1), release=True)
    assert (counts(run), reread(run).status) == ((2, 0, 0, 0), RunStatus.SUCCEEDED)


@pytest.mark.django_db(transaction=True)
def test_of_two_holders_at_once_one_records(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    for _ in range(5):
        run = launch("double", numbers(2), by=acme, batch_size=2)
        lease = claim()
        twin = Lease(**{name: getattr(lease, name) for name in Lease.__slots__})

        def record(one: Lease) -> bool:
            try:
                write(one, ok(0), ok(1), release=True)
            except LeaseLost:
                return False
            return True

        assert sorted(side_by_side(lambda: record(lease), lambda: record(twin))) == [False, True]  # noqa: B023
        assert (counts(run), reread(run).status) == ((2, 0, 0, 0), RunStatus.SUCCEEDED)


@pytest.mark.django_db(transaction=True)
def test_workers_that_end_a_run_at_once_end_it_once(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    for outcomes, status in [((ok, ok, ok, ok), "SUCCEEDED"), ((ok, bad, ok, bad), "PARTIAL_SUCCEEDED"),
                             ((bad, bad, bad, bad), "FAILED")]:  # fmt: skip
        run = launch("double", numbers(4), by=acme, batch_size=1)
        leases = [claim() for _ in range(4)]
        writes = [
            lambda lease=lease, outcome=outcome: write(lease, outcome(0), release=True)
            for lease, outcome in zip(leases, outcomes, strict=True)
        ]
        side_by_side(*writes)
        run = reread(run)
        assert (run.status, run.progress.remaining) == (status, 0)
        assert run.transitions.filter(from_status="RUNNING").count() == 1
        assert (run.last_error or {}).get("label") == ("NO" if bad in outcomes else None)


@pytest.mark.django_db(transaction=True)
def test_a_stop_and_checkpoints_at_once_leave_no_count_that_moves(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    """What raises the epoch takes locks in the house's order; after it nothing is recorded, and nobody deadlocks."""
    for _ in range(8):
        run = launch("double", numbers(4), by=acme, batch_size=1)
        leases = [claim() for _ in range(4)]

        def stop() -> tuple[int, int, int, int]:
            with transaction.atomic():
                progress = RunProgress.objects.select_for_update().get(run=run)  # noqa: B023
                progress.epoch += 1
                progress.save(update_fields=["epoch"])
                lifecycle.move(run.pk, RunStatus.STOPPED, now=timezone.now())  # noqa: B023
            return counts(run)  # noqa: B023

        def record(lease: Lease) -> bool:
            try:
                write(lease, ok(0), release=True)
            except LeaseLost:
                return False
            return True

        seen, *recorded = side_by_side(stop, *(lambda lease=lease: record(lease) for lease in leases))
        assert counts(run) == seen
        assert sum(recorded) == seen[0]
        assert reread(run).status == (RunStatus.STOPPED if seen[3] else RunStatus.SUCCEEDED)


# --- Letting go -----------------------------------------------------------------------------------------------


def test_a_batch_waits_until_its_first_retry_is_due(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(3), by=acme, batch_size=3)
    write(claim(), ok(0), later(1, 500), later(2, 100), release=True)
    batch = Batch.objects.get()
    assert (batch.status, batch.leased_until, batch.worker) == (BatchStatus.WAITING, None, "")
    assert timedelta(seconds=90) < batch.ready_at - timezone.now() < timedelta(seconds=101)
    assert {offset: one["attempts"] for offset, one in batch.retries.items()} == {"1": 1, "2": 1}
    run = reread(run)
    assert (run.status, run.postponed_until, counts(run)) == (RunStatus.SCHEDULED, batch.ready_at, (1, 0, 0, 2))
    assert run.progress.retry_count == 2


def test_an_input_without_a_result_makes_the_batch_ready(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(3), by=acme, batch_size=3)
    write(claim(), later(1, 500), release=True)
    assert Batch.objects.get().status == BatchStatus.READY
    assert reread(run).status == RunStatus.RUNNING
    assert claim().retries[1]["attempts"] == 1


def test_a_result_ends_the_retries_of_its_input(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    lease = claim()
    write(lease, later(0, 0))
    write(lease, ok(0, attempt=2), release=True)
    assert Batch.objects.get().retries is None
    assert inputs_of(run)[0]["retry_count"] == 1


def test_the_last_of_several_that_wait_schedules_the_run_for_the_first(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(3), by=acme, batch_size=1)
    leases = [claim() for _ in range(3)]
    write(leases[0], later(0, 300), release=True)
    write(leases[1], later(0, 100), release=True)
    assert reread(run).status == RunStatus.RUNNING
    write(leases[2], ok(0), release=True)
    assert reread(run).status == RunStatus.SCHEDULED
    assert reread(run).postponed_until == Batch.objects.get(first_index=1).ready_at


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_comes_due_while_its_run_is_being_scheduled_does_not_strand_it(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the other batches and the move a sweep wakes one of them, and a worker claims it."""
    run = launch("double", numbers(2), by=acme, batch_size=1)
    first, second = claim(), claim()
    write(first, later(0, 3), release=True)
    move = lifecycle.move
    woken: list[Lease | None] = []

    def wake_and_claim() -> None:
        dispatch.wake_due(now=timezone.now() + timedelta(seconds=5))
        woken.append(dispatch.claim(worker="other:1", actions=["double"], now=timezone.now()))
        connection.close()

    thread = threading.Thread(target=wake_and_claim)

    def move_after_the_sweep(*arguments: Any, **changes: Any) -> bool:
        monkeypatch.undo()
        thread.start()
        thread.join(0.5)  # it waits for this transaction, or is done by then
        return move(*arguments, **changes)

    monkeypatch.setattr(lifecycle, "move", move_after_the_sweep)
    write(second, ok(0), release=True)
    thread.join(10)
    for lease in woken:
        if lease:
            write(lease, ok(0, attempt=2), release=True)
    for seconds in (10, 2_000):
        recovery.sweep(now=timezone.now() + timedelta(seconds=seconds))
        while lease := dispatch.claim(worker="test:1", actions=["double"], now=timezone.now()):
            write(lease, ok(0, attempt=2), release=True)
    assert (reread(run).status, counts(run)) == (RunStatus.SUCCEEDED, (2, 0, 0, 0))


# --- Any history adds up --------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["ok", "many", "none", "bad", "later"])), max_size=4),
        st.sampled_from(["keep", "release", "die", "twice"]),
    ),
    max_size=14,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, size=st.integers(1, 7))
def test_any_history_of_checkpoints_deaths_and_doubles_adds_up(
    acme: Member, double: ActionDefinition, steps: list[Any], size: int
) -> None:
    """Against a model: the results that were recorded, each once; and the run ends when the last one is there."""
    run = launch("double", numbers(7), by=acme, batch_size=size)
    model: dict[int, list[int] | None] = {}
    retried = 0

    def outcome(lease: Lease, offset: int, kind: str) -> Outcome:
        index = lease.first_index + offset
        attempt = lease.retries.get(offset, {"attempts": 0})["attempts"] + 1
        outputs = {"ok": [index], "many": [index] * 3, "none": []}.get(kind)
        if kind == "later":
            return later(offset, -1, attempt)
        if outputs is None:
            return bad(offset)
        return Outcome(offset, attempt, NOW, NOW, outputs=[b"%d" % one for one in outputs])

    for _, wanted, ending in steps:
        lease = dispatch.claim(worker="w", actions=["double"], now=timezone.now())
        if lease is None:
            break
        open_offsets = set(lease.done.missing())
        chosen = {offset: kind for offset, kind in wanted if offset in open_offsets}
        outcomes = [outcome(lease, offset, kind) for offset, kind in chosen.items()]
        stale = Lease(**{name: getattr(lease, name) for name in Lease.__slots__})
        write(lease, *outcomes, release=ending == "release")
        for one in outcomes:
            if one.retry_at is None:
                outputs = None if one.outputs is None else [int(line) for line in one.outputs]
                model[lease.first_index + one.offset] = outputs
            else:
                retried += 1
        if ending == "twice" and outcomes:
            with pytest.raises(LeaseLost):
                write(stale, *outcomes, release=False)
        if ending != "release":
            Batch.objects.filter(status=BatchStatus.LEASED).update(leased_until=timezone.now() - timedelta(seconds=1))
        recovery.sweep()
        progress = reread(run).progress
        succeeded = sum(one is not None for one in model.values())
        assert (progress.succeeded_count, progress.failed_count) == (succeeded, len(model) - succeeded)
        assert (progress.remaining, progress.retry_count) == (7 - len(model), retried)
        assert outputs_of(run) == [one for index in sorted(model) for one in model[index] or []]
        assert (reread(run).status in TERMINAL) == (len(model) == 7)

    shown = inputs_of(run)
    for index, outputs in model.items():
        assert shown[index]["status"] == ("FAILED" if outputs is None else "SUCCEEDED")
        assert shown[index]["output_count"] == len(outputs or [])
    assert sum(one["retry_count"] for one in shown) <= reread(run).progress.retry_count
    Batch.objects.filter(run=run).delete()  # so that the next example claims nothing of this one
