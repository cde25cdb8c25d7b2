"""Cancelling: a run stops at once, whatever its workers are at (contract section 2).

They go on for a moment and can record nothing: the epoch they have is over.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from rest.errors import Conflict
from runs import dispatch, lifecycle, turns
from runs.holding import hold
from runs.lifecycle import By
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
        dispatch.take_back(held.batch_ids)
        RunProgress.objects.filter(pk=run.pk).update(epoch=F("epoch") + 1)
        lifecycle.move(run.pk, RunStatus.STOPPED, now=now, by=by, reason="cancelled", postponed_until=None)
        turns.make_unready(run.pk)
        return Run.objects.with_progress().get(pk=run.pk)
