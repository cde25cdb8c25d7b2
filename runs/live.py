"""Live: one input, executed now, and its answer in the response (contract section 1).

A live call is a run like any other, of one input in one batch, that live workers claim. The web thread that waits
for it is woken through Redis and reads what became of it from the database. It never waits for ever: a call that no
worker takes is taken back as if it had never been, one whose worker is silent is ended from here or by the sweep.
"""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from actions import catalogue, registry
from rest.errors import ApiError, NotFound, TimedOut, Unavailable, WorkerLost
from runs import checkpoint, dispatch, launch, notices
from runs.calls import input_error
from runs.checkpoint import LeaseLost, Outcome
from runs.execution import KILL_AFTER_S, POOL
from runs.launch import LiveLaunch, PreparedRun
from runs.lease_keeper import RENEWALS_OF_A_LEASE
from runs.models import TERMINAL, Batch, Run, RunStatus, input_uid
from workspaces import idempotency
from workspaces.idempotency import Claim, FirstAnswer
from workspaces.models import User, Workspace

log = structlog.get_logger(__name__)

SWEEP_STEP = 100
LOOK_S = 5.0  # between looks into the database by one who waits for a notice, which may be lost
RETRY_AFTER_S = 1
# By then a call's process was killed for being past the limit, and its successor has told the end; or nobody will.
GIVE_UP_AFTER_S = KILL_AFTER_S + 4.0


class Ended(NamedTuple):
    """A live call that has ended, and whether it was made by an earlier request with the same Idempotency-Key."""

    run: Run
    is_replay: bool = False


def call(
    action_name: str,
    asked: LiveLaunch,
    *,
    workspace: Workspace,
    user: User,
    now: datetime,
    claim: Claim | None = None,
    has_hung_up: Callable[[], bool] = lambda: False,
) -> Ended:
    """Call an action on one input on a live worker, and return its run once that has ended.

    `has_hung_up` says that nobody waits for the answer any more; the call itself goes on.

    Raises:
        Unavailable: as many callers wait as may, or no worker took the call in time. Nothing of it is stored.
        Conflict: see `launch.prepare_live`; or the first request with the same key is still in flight.
        NotFound, BadInput, BadParameters, LimitReached: see `launch.prepare_live`.
        IdempotencyMismatch: the key's first request had another body.
    """
    if claim and (earlier := idempotency.find(claim)):
        return _ended_earlier(claim, earlier)
    prepared = launch.prepare_live(action_name, asked, workspace=workspace, user=user, now=now)
    with waiting_place():
        first = idempotency.once(claim, lambda: FirstAnswer(prepared.store().uid))
        if claim and first.is_replay:
            return _ended_earlier(claim, first)
        if not prepared.ring() and withdraw(prepared.run):
            raise Unavailable("No live worker can be woken: the broker does not answer. Try again shortly.")
        return Ended(_await_end(prepared, has_hung_up))


def _ended_earlier(claim: Claim, first: FirstAnswer) -> Ended:
    run = Run.objects.for_answer().filter(uid=first.uid).first()
    if run is None and idempotency.find(claim) is None:  # taken back a moment ago, and its key with it
        raise idempotency.in_flight()
    if run is None:
        raise NotFound("The run of this Idempotency-Key was deleted.", {"run_uid": str(first.uid)})
    if run.status not in TERMINAL:
        raise idempotency.in_flight()
    return Ended(run, is_replay=True)


@contextmanager
def waiting_place() -> Iterator[None]:
    """Take one of the places for callers that wait: the other web threads are for everybody else.

    Raises:
        Unavailable: all are taken.
    """
    places = _places()
    if not places.acquire(blocking=False):
        raise Unavailable(
            f"{settings.RUNYARD_MAX_LIVE_CALLS} live calls wait in this process, as many as may"
            " (RUNYARD_MAX_LIVE_CALLS). Try again shortly, or launch async.",
            {"limit": settings.RUNYARD_MAX_LIVE_CALLS, "setting": "RUNYARD_MAX_LIVE_CALLS"},
            retry_after_s=RETRY_AFTER_S,
        )
    try:
        yield
    finally:
        places.release()


@functools.cache
def _places() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(settings.RUNYARD_MAX_LIVE_CALLS)


def _await_end(prepared: PreparedRun, has_hung_up: Callable[[], bool]) -> Run:
    run, timeout_s = prepared.run, prepared.limits.timeout_s
    withdraw_at = time.monotonic() + settings.RUNYARD_LIVE_WAIT_SECONDS
    give_up_at, look_at = withdraw_at + timeout_s + GIVE_UP_AFTER_S, 0.0
    while True:
        if notices.wait(run.uid) or time.monotonic() >= look_at:
            status, now = _status(run), time.monotonic()
            if status in TERMINAL:
                return Run.objects.for_answer().get(pk=run.pk)
            if status == RunStatus.QUEUED and now >= withdraw_at and withdraw(run):
                raise _not_taken()
            if status == RunStatus.RUNNING:
                give_up_at = min(give_up_at, now + timeout_s + GIVE_UP_AFTER_S)
            if now >= give_up_at:
                for batch in Batch.objects.of_live_calls().filter(run=run):
                    _end(batch, now=timezone.now(), seen_at=_last_sign_of_life(batch))
            if now >= give_up_at + LOOK_S:
                raise Unavailable("What became of the call cannot be found out now: look at its run later.")
            look_at = min(now + LOOK_S, max(withdraw_at, now + notices.WAIT_S), give_up_at) if status else now
            connection.close()  # a slow call holds a thread, and need not hold a database connection as well
        if has_hung_up():
            raise Unavailable("The caller hung up.")


def _not_taken() -> Unavailable:
    limit = settings.RUNYARD_LIVE_WAIT_SECONDS
    return Unavailable(
        f"No live worker took the call within {limit} s (RUNYARD_LIVE_WAIT_SECONDS). Try again shortly, or launch"
        " async.",
        {"limit": limit, "setting": "RUNYARD_LIVE_WAIT_SECONDS"},
        retry_after_s=RETRY_AFTER_S,
    )


def _status(run: Run) -> RunStatus | None:
    """Return a run's status; None while the database does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT status FROM runs_run WHERE id = %s", [run.pk])
            found = cursor.fetchone()
    except (OperationalError, InterfaceError):
        connection.close()
        return None
    if found is None:
        raise NotFound("The run was deleted.", {"run_uid": str(run.uid)})
    return RunStatus(found[0])


def withdraw(run: Run) -> bool:
    """Take a call back that no worker has taken: nothing is left of it. Returns whether this call did it."""
    with transaction.atomic():
        if not dispatch.remove_unclaimed(run.pk):
            return False
        idempotency.forget(run.uid)
        Run.objects.filter(pk=run.pk).delete()
        run.input_set.delete()
    return True


# --- Calls whose worker or caller is gone


def end_overdue(*, now: datetime) -> int:
    """End live calls whose worker has been silent past its lease, and those that nobody took. Returns how many.

    Who waits for a call takes it back in time; one that is still there waits for nobody.
    """
    overdue = Batch.objects.of_live_calls().overdue().order_by("pk")[:SWEEP_STEP]
    silent = [batch for batch in overdue if not _is_told_soon(batch.run, now=now)]
    ended = sum(_end(batch, now=now, seen_at=_last_sign_of_life(batch), if_overdue=True) for batch in silent)
    longest_wait = timedelta(seconds=settings.RUNYARD_LIVE_WAIT_SECONDS + settings.RUNYARD_LEASE_SECONDS)
    forgotten = Run.objects.waiting_live().filter(created_at__lt=now - longest_wait)
    batches = Batch.objects.filter(run__in=forgotten.values("pk")[:SWEEP_STEP]).select_related("run__action")
    return ended + sum(_end(batch, now=now, seen_at=now) for batch in batches)


def end_calls_of_dead_siblings(*, now: datetime) -> int:
    """End live calls of this worker's processes that died, for one that takes a dead one's place. Returns how many."""
    mine = f"{socket.gethostname()}:{POOL}:"
    batches = Batch.objects.of_live_calls().filter(worker__startswith=mine)
    dead = [batch for batch in batches if not _is_alive(int(batch.worker.removeprefix(mine)))]
    # One that is deaf is killed so long past the limit. Those found sooner died of themselves.
    seen_at = now - timedelta(seconds=KILL_AFTER_S)
    return sum(_end(batch, now=now, seen_at=seen_at) for batch in dead)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process has the number by now: the sweep ends the call
        return True
    return True


def _is_told_soon(run: Run, *, now: datetime) -> bool:
    """Whether a call has just come to its time limit: a process that was deaf, and renewed nothing, is being replaced.

    Where its whole worker died before, nobody tells, and a moment later this is False.
    """
    if run.started_at is None:
        return False
    return 0 <= (now - run.started_at).total_seconds() - _timeout_s(run) < GIVE_UP_AFTER_S


def _last_sign_of_life(batch: Batch) -> datetime:
    """Return until when a worker may have been at a call whose lease it renews no more: to its next renewal."""
    lease = timedelta(seconds=settings.RUNYARD_LEASE_SECONDS)
    return batch.leased_until - lease + lease / RENEWALS_OF_A_LEASE if batch.leased_until else timezone.now()


def _end(batch: Batch, *, now: datetime, seen_at: datetime, if_overdue: bool = False) -> bool:
    """Record the end of a call in place of whoever had it. Returns whether this call did it.

    `seen_at` is until when its worker may have been at it: past the time limit it is a timeout.
    """
    lease = dispatch.take_over(batch.pk, batch.attempt, if_overdue=if_overdue)
    if lease is None:
        return False
    error, started_at = _what_happened(batch.run, seen_at=seen_at), batch.run.started_at or now
    stored = input_error(
        error.label,
        error.message,
        scope=error.error_scope,
        params=error.params,
        error_ref=str(input_uid(lease.run_uid, 0)),
    )
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
