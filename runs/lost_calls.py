"""Ending live calls whose worker or caller is gone, in place of whoever had them.

Each way takes the call's batch over first: whoever was at it records nothing any more, and of several who end a call
one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from actions import catalogue, registry
from rest.errors import ApiError, TimedOut, WorkerLost
from runs import checkpoint, dispatch, notices
from runs.calls import input_error_of
from runs.checkpoint import LeaseLost, Outcome
from runs.execution import KILL_AFTER_S
from runs.lease_keeper import RENEWALS_OF_A_LEASE
from runs.models import Batch, Run
from runs.siblings import is_dead_sibling, pool_prefix
from runs.uids import input_uid
from workspaces import idempotency

log = structlog.get_logger(__name__)

SWEEP_STEP = 100
# By then a call's process was killed for being past the limit, and its successor has told the end; or nobody will.
GIVE_UP_AFTER_S = KILL_AFTER_S + 4.0


def end_overdue(*, now: datetime) -> int:
    """End live calls whose worker has been silent past its lease, and those that nobody took. Returns how many.

    Who waits for a call takes it back in time; one that is still there waits for nobody.
    """
    overdue = Batch.objects.of_live_calls().overdue().order_by("pk")[:SWEEP_STEP]
    silent = [batch for batch in overdue if not _is_told_soon(batch.run, now=now)]
    ended = _end_each(silent, lambda batch: end(batch, now=now, seen_at=last_sign_of_life(batch), if_overdue=True))
    longest_wait = timedelta(seconds=settings.RUNYARD_LIVE_WAIT_SECONDS + settings.RUNYARD_LEASE_SECONDS)
    forgotten = Run.objects.waiting_live().filter(created_at__lt=now - longest_wait)
    batches = Batch.objects.filter(run__in=forgotten.values("pk")[:SWEEP_STEP]).select_related("run__action")
    return ended + _end_each(batches, lambda batch: _end_unbegun(batch, now=now))


def end_calls_of_dead_siblings(*, now: datetime) -> int:
    """End live calls of this worker's processes that died, for one that takes a dead one's place. Returns how many."""
    batches = Batch.objects.of_live_calls().filter(worker__startswith=pool_prefix())
    dead = [batch for batch in batches if is_dead_sibling(batch.worker)]
    # One that is deaf is killed so long past the limit. Those found sooner died of themselves.
    seen_at = now - timedelta(seconds=KILL_AFTER_S)
    return _end_each(dead, lambda batch: end(batch, now=now, seen_at=seen_at))


def _end_each(batches: Iterable[Batch], end_one: Callable[[Batch], bool]) -> int:
    """End calls one by one, so that one which cannot be ended is not in the way of the others. Returns how many."""
    ended = 0
    for batch in batches:
        try:
            ended += end_one(batch)
        except (OperationalError, InterfaceError):  # the database is away: the others would fail as well
            raise
        except Exception as error:
            log.error("live_call_not_ended", run_uid=str(batch.run.uid), exc_info=error)
    return ended


def _end_unbegun(batch: Batch, *, now: datetime) -> bool:
    """End a call that nobody took. Its Idempotency-Key is free again: nothing was done that a repeat would do twice."""
    ended = end(batch, now=now, seen_at=now)
    if ended:
        idempotency.forget(batch.run.uid)
    return ended


def _is_told_soon(run: Run, *, now: datetime) -> bool:
    """Whether a call has just come to its time limit: a process that was deaf, and renewed nothing, is being replaced.

    Where its whole worker died before, nobody tells, and a moment later this is False.
    """
    if run.started_at is None:
        return False
    return 0 <= (now - run.started_at).total_seconds() - _timeout_s(run) < GIVE_UP_AFTER_S


def last_sign_of_life(batch: Batch) -> datetime:
    """Return until when a worker may have been at a call whose lease it renews no more: to its next renewal."""
    lease = timedelta(seconds=settings.RUNYARD_LEASE_SECONDS)
    return batch.leased_until - lease + lease / RENEWALS_OF_A_LEASE if batch.leased_until else timezone.now()


def end(batch: Batch, *, now: datetime, seen_at: datetime, if_overdue: bool = False) -> bool:
    """Record the end of a call in place of whoever had it. Returns whether this call did it.

    `seen_at` is until when its worker may have been at it: past the time limit it is a timeout.
    """
    lease = dispatch.take_over(batch.pk, batch.attempt, if_overdue=if_overdue)
    if lease is None:
        return False
    error, started_at = _what_happened(batch.run, seen_at=seen_at), batch.run.started_at or now
    stored = input_error_of(error, str(input_uid(lease.run_uid, 0)))
    outcome = Outcome(0, 1, started_at.timestamp(), now.timestamp(), error=stored)
    try:
        checkpoint.write(lease, [outcome], release=True, now=now)
    except LeaseLost:  # another has taken it over from here
        return False
    log.warning("live_call_ended", run_uid=str(lease.run_uid), label=error.label)
    notices.post(lease.run_uid)
    return True


def _what_happened(run: Run, *, seen_at: datetime) -> ApiError:
    if run.started_at is None:
        return WorkerLost("No live worker took the call, and whoever waited for it is gone.")
    timeout_s = _timeout_s(run)
    if (seen_at - run.started_at).total_seconds() >= timeout_s:
        return TimedOut(f"The action took longer than its time limit of {timeout_s:g} s.", {"timeout_s": timeout_s})
    return WorkerLost("The worker that executed this call died.")


def _timeout_s(run: Run) -> float:
    """Return a call's time limit; infinity where this process does not have its action."""
    definition = registry.get(run.action_name)
    return catalogue.limits(definition, run.action).timeout_s if definition else float("inf")
