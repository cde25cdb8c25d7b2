"""Runs that wait for others: what becomes of one when those move (contract section 2, `depends_on`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from rest.errors import NotFound
from runs import dependencies, lifecycle
from runs.dependencies import Outlook
from runs.holding import hold
from runs.models import Run, RunProgress, RunStatus

WAITING = frozenset({RunStatus.BLOCKED, RunStatus.SCHEDULED})


def settle(run: Run, *, now: datetime) -> bool:
    """Look at the runs that `run` waits for, and move it where that leaves it. Returns whether it can be queued now.

    It is INVALID when one of them can never succeed, and otherwise BLOCKED until all have, which may be before its
    `start_after`. One that was stopped stays so, and keeps what is met.
    """
    with transaction.atomic():
        in_vain = dependencies.waits_in_vain(run.pk)
        try:
            # Only what makes it INVALID touches its batches, and there may be very many.
            held = hold(run, leased_only=not in_vain).run
        except NotFound:
            return False
        seen = dependencies.look(held)
        if not (seen.met or seen.unmet):  # another was here first
            return False
        if held.status not in WAITING:
            dependencies.note(held, seen)
            return False
        if seen.is_hopeless:
            if in_vain:  # else it has just become so, and the next look is asked for already
                _make_invalid(held, seen, now=now)
            return False
        dependencies.note(held, seen)
        if held.status == RunStatus.SCHEDULED and held.postponed_until and held.postponed_until > now:
            return False
        return _settle_due(held, seen, now=now)


def _settle_due(run: Run, seen: Outlook, *, now: datetime) -> bool:
    if seen.unmet and run.status == RunStatus.SCHEDULED:
        lifecycle.move(run.pk, RunStatus.BLOCKED, now=now, postponed_until=None, reason="depends_on")
    _explain(run, seen.error)
    return not seen.unmet


def _explain(run: Run, error: dict[str, Any] | None) -> None:
    """Show why a run waits; who waits for it then waits for the same reason."""
    if run.last_error != error:
        Run.objects.filter(pk=run.pk).update(last_error=error)
        dependencies.tell_waiting([run.uid])


def _make_invalid(run: Run, seen: Outlook, *, now: datetime) -> None:
    """Leave a run, held with all its batches, as one that was INVALID when it was launched. None of it has begun."""
    error = seen.error or {}
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM runs_batch WHERE run_id = %s", [run.pk])
    RunProgress.objects.filter(pk=run.pk).update(invalid_count=F("input_count"), remaining=0)
    dependencies.forget(run)
    lifecycle.move(
        run.pk,
        RunStatus.INVALID,
        now=now,
        reason=error["message"][:500],
        last_error=error,
        finished_at=now,
        postponed_until=None,
    )
