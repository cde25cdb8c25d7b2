"""Cancelling: a run stops at once, whatever its workers are at (contract section 2).

They go on for a moment and can record nothing: the epoch they have is over. So does a run that only fails.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from rest.errors import Conflict, stored_error
from runs import dispatch, lifecycle, outbox, turns
from runs.holding import hold
from runs.leases import Lease
from runs.lifecycle import SYSTEM, By
from runs.models import TERMINAL, ExecutionMode, Run, RunProgress, RunStatus


def cancel(run: Run, *, by: By, now: datetime) -> Run:
    """Stop a run and return it as it is from now on. One that was stopped before stays as it is.

    Raises:
        Conflict: it has ended, or is a live call.
        NotFound: it was deleted.
    """
    if run.execution_mode == ExecutionMode.LIVE:
        raise Conflict("A live call cannot be cancelled: it ends at its time limit.", {"status": run.status})
    with transaction.atomic():
        held = hold(run, leased_only=True)
        status = RunStatus(held.run.status)
        if status in TERMINAL:
            raise Conflict(f"The run has ended as {status}: there is nothing to cancel.", {"status": status})
        if status == RunStatus.STOPPED:
            return held.run
        # With what it waited for, and why.
        _stop(run.pk, held.batch_ids, now=now, by=by, reason="cancelled", last_error=None)
        outbox.hold(run.pk)  # after this no callback of the run is made
        return Run.objects.with_progress().get(pk=run.pk)


def stops_by_itself(progress: RunProgress) -> bool:
    """Return whether a run has failed so many inputs, and nothing else, that it is to be stopped."""
    limit = settings.RUNYARD_MAX_CONSECUTIVE_FAILURES
    if limit is None or progress.failures_in_row < limit:
        return False
    return progress.succeeded_count == 0 and progress.remaining > 0


def stop_by_itself(lease: Lease, progress: RunProgress, *, now: datetime) -> None:
    """Stop a run that goes on failing, in the checkpoint that recorded the last failure and holds its rows."""
    message = (
        f"Stopped after {progress.failures_in_row:,} failures in a row with nothing succeeded"
        " (RUNYARD_MAX_CONSECUTIVE_FAILURES). Resume the run when the cause is mended."
    )
    params = {"failures": progress.failures_in_row, "setting": "RUNYARD_MAX_CONSECUTIVE_FAILURES"}
    error = stored_error("TOO_MANY_FAILURES", message, scope="run", params=params, error_ref=str(lease.run_uid))
    reason = "too many failures in a row"
    _stop(lease.run_id, [lease.batch_id], now=now, by=SYSTEM, reason=reason, last_error=error)


def _stop(run_id: int, batch_ids: list[int], *, now: datetime, by: By, reason: str, **changes: Any) -> None:
    dispatch.take_back(batch_ids)
    RunProgress.objects.filter(pk=run_id).update(epoch=F("epoch") + 1)
    lifecycle.move(run_id, RunStatus.STOPPED, now=now, by=by, reason=reason, postponed_until=None, **changes)
    turns.make_unready(run_id)
