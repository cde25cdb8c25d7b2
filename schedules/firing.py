"""Firing: schedules whose time has come launch their runs and move on, in one transaction.

Whoever locks a schedule's row fires it: others pass it by (`FOR UPDATE SKIP LOCKED`), and what dies before its commit
has done nothing. So each due time launches once, however many tick. By the database's clock, which all of them share.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from uuid_utils.compat import uuid7

from rest.errors import Conflict, stored_error
from runs import quotas, scheduled
from runs.lifecycle import By
from runs.models import Actor, Run
from schedules import lifecycle, settling, totals
from schedules.clock import database_time
from schedules.models import Fire, FireKind, Overlap, Schedule, ScheduleStatus
from workspaces.models import User

log = structlog.get_logger(__name__)

STEP_S = 0.8  # of each second: the sweep shares the worker
TOGETHER = 300  # schedules of one transaction
TRIED_AGAIN_AFTER_S = 60.0
CONNECTION_LOST = ("08", "57P", "25P03")  # SQLSTATEs: a connection that broke, a shutdown, a session idle for too long

_failing: dict[int, float] = {}
"""Schedules whose firing failed in this process, and when (by `time.monotonic`) it is tried again."""


def tick(*, now: datetime | None = None, step_s: float = STEP_S) -> int:
    """Fire what is due, what waits longest first, for about `step_s`. Returns how many schedules that were.

    `now` is the database's, but for tests. A schedule that cannot be fired stops nobody: it keeps the reason in its
    `last_error`, stays due, and is tried again after a minute, when the others have had their turn.
    """
    stop_at = time.monotonic() + step_s
    fired = 0
    while time.monotonic() < stop_at:
        try:
            settled = _fire(~Q(pk__in=list(_failing)), now=now)
        except Exception as error:
            _raise_if_away(error)
            log.warning("schedules_fired_one_by_one", error=f"{type(error).__name__}: {error}")
            settled = _fire_one_by_one(_due_ids(now), now=now, stop_at=stop_at)
        if not settled:
            break
        fired += settled
    due_again = [pk for pk, at in _failing.items() if at <= time.monotonic()]
    return fired + _fire_one_by_one(due_again, now=now, stop_at=stop_at)


def _fire(which: Q, *, now: datetime | None) -> int:
    """Claim some schedules that are due and settle them. Returns how many."""
    with transaction.atomic():
        # Prefetched: hundreds share an action, and a row that is read with them would be one each.
        locked = Schedule.objects.due(now).filter(which).select_for_update(skip_locked=True, no_key=True, of=("self",))
        claimed = list(locked.prefetch_related("action", "input_set", "destination")[:TOGETHER])
        if not claimed:
            return 0
        return len(settling.settle(claimed, now=now or database_time()))


# --- Those that fail


def _due_ids(now: datetime | None) -> list[int]:
    due = Schedule.objects.due(now).exclude(pk__in=list(_failing))
    return list(due.values_list("pk", flat=True)[:TOGETHER])


def _fire_one_by_one(schedule_ids: Sequence[int], *, now: datetime | None, stop_at: float) -> int:
    """Fire schedules each on its own, until `stop_at`. Returns how many that were, those that failed included."""
    tried = 0
    for pk in schedule_ids:
        if time.monotonic() >= stop_at:
            break
        tried += 1
        try:
            _fire(Q(pk=pk), now=now)
            _failing.pop(pk, None)
        except Exception as error:
            _raise_if_away(error)
            _note_failure(pk, error)
    return tried


def _note_failure(pk: int, error: Exception) -> None:
    """Keep a schedule out of the others' way for a while, and tell in its row that it failed, and under which name."""
    _failing[pk] = time.monotonic() + TRIED_AGAIN_AFTER_S
    ref = str(uuid7())
    log.error("schedule_not_fired", schedule_id=pk, error_ref=ref, exc_info=error)
    message = f"It could not be fired: an error of ours ({type(error).__name__}). It is tried again every minute."
    kept = stored_error("INTERNAL_ERROR", message, scope="server", error_ref=ref)
    Schedule.objects.filter(pk=pk, status=ScheduleStatus.ACTIVE).update(last_error=kept)


def _raise_if_away(error: Exception) -> None:
    """Raise an error of a connection that is lost: the others would fail as well, and the next tick is soon."""
    state = getattr(error.__cause__, "sqlstate", None) or ""
    never_answered = isinstance(error, OperationalError) and not state
    if isinstance(error, InterfaceError) or never_answered or state.startswith(CONNECTION_LOST):
        raise error


# --- By hand


def trigger(schedule: Schedule, *, by: User, now: datetime) -> Run:
    """Launch a run of a schedule now, whenever it is due, and return it with its progress. It is one of `by`'s.

    A schedule that is paused or has completed can be triggered as well.

    Raises:
        NotFound: it was deleted.
        Conflict: it is cancelled; its last run is unfinished and `overlap` is `skip`; or its action is switched off.
        LimitReached: the workspace has as many unfinished runs, or as much stored, as it may.
    """
    with transaction.atomic():
        held = lifecycle.hold(schedule)
        _check_triggerable(held)
        launch = settling.launch_of(held, by=By(Actor.MEMBER, by.uid), user_id=by.pk, reason="triggered")
        (run,) = scheduled.store([launch], now=now)
        fire = Fire.objects.create(schedule=held, kind=FireKind.TRIGGERED, at=now, run_uid=run.uid)
        Schedule.objects.filter(pk=held.pk).update(last_run_uid=run.uid, last_execution_at=now)
        totals.add([fire])
    return run


def _check_triggerable(schedule: Schedule) -> None:
    if schedule.status == ScheduleStatus.CANCELLED:
        raise Conflict("The schedule is CANCELLED: it launches nothing any more.", {"status": schedule.status})
    action = schedule.action
    if not action.enabled:
        raise Conflict(f"The action '{action.name}' is switched off.", {"action_name": action.name, "enabled": False})
    if schedule.overlap == Overlap.SKIP and settling.is_last_unfinished(schedule):
        raise Conflict(
            "The last run is unfinished, and overlap is skip.",
            {"status": schedule.status, "run_uid": str(schedule.last_run_uid)},
        )
    quotas.take_one_more(schedule.workspace)
