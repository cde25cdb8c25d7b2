"""Resuming: a run that stopped goes on, one that ended runs its failed inputs again (contract section 2).

Failed inputs begin a new generation: their failures stay where they are, and count no more once their bits are
cleared. What succeeded is kept, and what was invalid stays so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F
from pydantic_core import from_json

from rest.errors import BadInput, Conflict
from runs import dependencies, dispatch, doorbell, failures, lifecycle, outbox, quotas, recovery
from runs.chunks import DoneBits
from runs.holding import Held, hold
from runs.lifecycle import By
from runs.models import Batch, ExecutionMode, Run, RunProgress, RunStatus

GOES_ON = frozenset({RunStatus.STOPPED, RunStatus.BLOCKED})
RUNS_AGAIN = frozenset({RunStatus.FAILED, RunStatus.PARTIAL_SUCCEEDED})


@dataclass(frozen=True, slots=True)
class FailedInputs:
    """Which of a run's failed inputs are meant: those with one of `indexes` and of `error_labels`; empty is all."""

    indexes: Collection[int] = frozenset()
    error_labels: Collection[str] = frozenset()

    @property
    def is_open(self) -> bool:
        return not self.indexes and not self.error_labels

    def takes(self, index: int, error: bytes) -> bool:
        if self.indexes and index not in self.indexes:
            return False
        return not self.error_labels or from_json(error)["label"] in self.error_labels


ALL = FailedInputs()


def resume(run: Run, *, by: By, now: datetime, wanted: FailedInputs = ALL) -> Run:
    """Let a run go on, or run its failed inputs again, and return it as it is then: SCHEDULED, and queued at once.

    One that depends on runs which have not succeeded is BLOCKED again instead.

    Of several who resume it, one does.

    Raises:
        Conflict: its status does not allow it, nothing is to run again, or it is a live call.
        BadInput: an index is not one of the run's.
        LimitReached: it has ended, and its workspace has as many unfinished runs, or as much stored, as it may.
        NotFound: it was deleted.
    """
    with transaction.atomic():
        held = hold(run)
        _check(held.run, wanted)
        resumed = _resume(held, by=by, now=now, wanted=wanted)
        queued = recovery.queue(resumed, now=now)
    if queued:
        doorbell.ring(len(held.batch_ids))
    return resumed


def _check(run: Run, wanted: FailedInputs) -> None:
    status = RunStatus(run.status)
    if run.execution_mode == ExecutionMode.LIVE:
        raise Conflict("A live call cannot be resumed: make it again.", {"status": status})
    if status not in GOES_ON | RUNS_AGAIN:
        allowed = sorted(GOES_ON | RUNS_AGAIN)
        raise Conflict(
            f"The run is {status}; one that is {', '.join(allowed)} can be resumed.",
            {"status": status, "allowed": allowed},
        )
    if status in GOES_ON and not wanted.is_open:
        raise Conflict(
            f"The run is {status} and goes on with all that has no result; indexes and error_labels choose among the"
            " failed inputs of a run that has ended.",
            {"status": status},
        )
    beyond = max(wanted.indexes, default=0)
    if beyond >= run.progress.input_count:
        raise BadInput(
            f"indexes: {beyond} is none of the run's, which go from 0 to {run.progress.input_count - 1}.",
            {"field": "indexes", "max": run.progress.input_count - 1},
        )


def _resume(held: Held, *, by: By, now: datetime, wanted: FailedInputs) -> Run:
    run = held.run
    again = 0
    if run.status in RUNS_AGAIN:
        quotas.take_one_more(run.workspace)
        again = _run_again(run, wanted)
        if not again:
            raise Conflict("No failed input of the run is to run again.", {"status": run.status})
    dispatch.begin_again(run.pk)
    RunProgress.objects.filter(pk=run.pk).update(
        epoch=F("epoch") + 1,
        generation=F("generation") + (1 if again else 0),
        failed_count=F("failed_count") - again,
        remaining=F("remaining") + again,
        retry_count=0,
        failures_in_row=0,
    )
    reason = f"resumed, {again:,} failed inputs run again" if again else "resumed"
    cleared = {"last_error": None, "postponed_until": None, "finished_at": None}
    lifecycle.move(run.pk, RunStatus.SCHEDULED, now=now, by=by, reason=reason, **cleared)
    dependencies.tell_waiting([run.uid])
    outbox.let_go(run.pk)
    return Run.objects.with_progress().get(pk=run.pk)


def _run_again(run: Run, wanted: FailedInputs) -> int:
    """Make the batches of the failed inputs that are wanted ready for them. Returns how many inputs these are."""
    count = 0
    for group in failures.groups_with_failures(run.pk):
        errors = failures.standing(group)
        indexes = {index for index, error in errors.items() if wanted.takes(index, error)}
        done = dict(_done_without(group, indexes))
        if done:
            dispatch.run_again(done)
        count += len(indexes)
    return count


def _done_without(batch_ids: Collection[int], indexes: Collection[int]) -> Iterator[tuple[int, DoneBits]]:
    """Yield the batches that hold one of `indexes`, each with what is done of it without these."""
    for batch in Batch.objects.filter(pk__in=batch_ids).only("first_index", "input_count", "done"):
        done = DoneBits(batch.input_count, batch.done)
        failed = [offset for offset in range(batch.input_count) if batch.first_index + offset in indexes]
        for offset in failed:
            done.discard(offset)
        if failed:
            yield batch.pk, done
