"""Live: one input, executed now, and its answer in the response (contract section 1).

A live call is a run like any other, of one input in one batch, that live workers claim. The web thread that waits
for it is woken through Redis and reads what became of it from the database. It never waits for ever: a call that no
worker takes is taken back as if it had never been, one whose worker is silent is ended from here or by the sweep.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from rest.database import give_connection_back
from rest.errors import NotFound, Unavailable
from runs import counters, dependencies, dispatch, launch, lost_calls, notices
from runs.launch import LiveLaunch, PreparedRun
from runs.models import TERMINAL, Batch, Run, RunStatus
from statements.compiled import Compiled, Parameter
from workspaces import idempotency
from workspaces.idempotency import Claim, FirstAnswer
from workspaces.models import User, Workspace
from workspaces.places import AllTaken, Places, ShareTaken

log = structlog.get_logger(__name__)

LOOK_S = 5.0  # between looks into the database by one who waits for a notice, which may be lost
RETRY_AFTER_S = 1


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
        Unavailable: as many callers wait as may, or as many of the workspace, or no worker took the call in time.
            Nothing of it is stored, unless the error has the header `X-Run-Uid`: then the answer cannot be had now,
            and the call goes on.
        Conflict: see `launch.prepare_live`; or the first request with the same key is still in flight.
        NotFound, BadInput, BadParameters, LimitReached: see `launch.prepare_live`.
        IdempotencyMismatch: the key's first request had another body.
    """
    if claim and (earlier := idempotency.find(claim)):
        return _ended_earlier(claim, earlier)
    prepared = launch.prepare_live(action_name, asked, workspace=workspace, user=user, now=now)
    with waiting_place(workspace):
        first = idempotency.once(claim, lambda: FirstAnswer(prepared.store().uid))
        if claim and first.is_replay:
            return _ended_earlier(claim, first)
        try:
            if not prepared.ring() and withdraw(prepared.run):
                counters.LIVE_REFUSALS.labels("no_broker").inc()
                raise Unavailable("No live worker can be woken: the broker does not answer. Try again shortly.")
            return Ended(_await_end(prepared, has_hung_up))
        except (OperationalError, InterfaceError):
            connection.close()
            raise _goes_on(prepared.run, "The database does not answer") from None


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
def waiting_place(workspace: Workspace) -> Iterator[None]:
    """Take one of the places for callers that wait: the other web threads are for everybody else.

    Raises:
        Unavailable: all are taken, or the workspace has taken its share.
    """
    with ExitStack() as held:
        try:
            held.enter_context(places().hold(workspace))
        except AllTaken:
            raise _no_place("Live calls", places().limit, "RUNYARD_MAX_LIVE_CALLS") from None
        except ShareTaken:
            share = "RUNYARD_MAX_LIVE_CALLS_PER_WORKSPACE"
            raise _no_place("Live calls of the workspace", places().share, share) from None
        counters.LIVE_SLOTS_TAKEN.inc()
        held.callback(counters.LIVE_SLOTS_TAKEN.dec)
        yield


@functools.cache
def places() -> Places:
    """Return the places of this process."""
    share = min(settings.RUNYARD_MAX_LIVE_CALLS, settings.RUNYARD_MAX_LIVE_CALLS_PER_WORKSPACE)
    return Places(settings.RUNYARD_MAX_LIVE_CALLS, share=share)


def _no_place(whose: str, limit: int, setting: str) -> Unavailable:
    counters.LIVE_REFUSALS.labels("no_slot").inc()
    return Unavailable(
        f"{whose} that wait in this process are {limit}, as many as may ({setting}). Try again shortly, or launch"
        " async.",
        {"limit": limit, "setting": setting},
        retry_after_s=RETRY_AFTER_S,
    )


def _await_end(prepared: PreparedRun, has_hung_up: Callable[[], bool]) -> Run:
    run, timeout_s = prepared.run, prepared.limits.timeout_s
    withdraw_at = time.monotonic() + settings.RUNYARD_LIVE_WAIT_SECONDS
    give_up_at, look_at = withdraw_at + timeout_s + lost_calls.GIVE_UP_AFTER_S, 0.0
    while True:
        give_connection_back()  # a call that waits holds a thread, and need not hold a connection as well
        if notices.wait(run.uid) or time.monotonic() >= look_at:
            found, now = _look(run), time.monotonic()
            status = found.status if found else None
            if found and status in TERMINAL:
                return found
            if status == RunStatus.QUEUED and now >= withdraw_at and withdraw(run):
                counters.LIVE_REFUSALS.labels("no_worker").inc()
                raise _not_taken()
            if status == RunStatus.RUNNING:
                give_up_at = min(give_up_at, now + timeout_s + lost_calls.GIVE_UP_AFTER_S)
            if now >= give_up_at:
                for batch in Batch.objects.of_live_calls().filter(run=run):
                    lost_calls.end(batch, now=timezone.now(), seen_at=lost_calls.last_sign_of_life(batch))
            if now >= give_up_at + LOOK_S:
                raise _goes_on(run, "What became of the call cannot be found out now")
            look_at = min(now + LOOK_S, max(withdraw_at, now + notices.WAIT_S), give_up_at) if status else now
        if has_hung_up():
            raise _goes_on(run, "The caller hung up")


def _goes_on(run: Run, why: str) -> Unavailable:
    """Return the one kind of 503 that has a run: it tells its uid, for a caller who is still there after all."""
    error = Unavailable(f"{why}. The call goes on, and its run says how it ends.", {"run_uid": str(run.uid)})
    error.headers["X-Run-Uid"] = str(run.uid)
    return error


def _not_taken() -> Unavailable:
    limit = settings.RUNYARD_LIVE_WAIT_SECONDS
    return Unavailable(
        f"No live worker took the call within {limit} s (RUNYARD_LIVE_WAIT_SECONDS). Try again shortly, or launch"
        " async.",
        {"limit": limit, "setting": "RUNYARD_LIVE_WAIT_SECONDS"},
        retry_after_s=RETRY_AFTER_S,
    )


def _look(run: Run) -> Run | None:
    """Return a run as it stands now; None while the database does not answer."""
    try:
        found = _FOR_ANSWER.first(pk=run.pk)
    except (OperationalError, InterfaceError):
        connection.close()
        return None
    if found is None:
        raise NotFound("The run was deleted.", {"run_uid": str(run.uid)})
    return found


_FOR_ANSWER = Compiled(lambda: Run.objects.for_answer().filter(pk=Parameter("pk")))


def withdraw(run: Run) -> bool:
    """Take a call back that no worker has taken: nothing is left of it. Returns whether this call did it."""
    with transaction.atomic():
        if not dispatch.remove_unclaimed(run.pk):
            return False
        idempotency.forget(run.uid)
        Run.objects.filter(pk=run.pk).delete()
        dependencies.tell_waiting([run.uid])
        run.input_set.delete()
    return True
