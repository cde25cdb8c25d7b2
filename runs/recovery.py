"""The sweep: whatever was lost on the way is found again in the database, within seconds and without an operator.

Every part is safe to run at any time, twice at once, and after any crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from runs import blocking, counters, dependencies, dependents, dispatch, doorbell, gates, lifecycle, lost_calls, turns
from runs.gates import Standing
from runs.models import Run, RunStatus

log = structlog.get_logger(__name__)

MAX_WAKES_WAITING = 64
TOLD = ("expired_leases", "lost_ready_runs", "ended_live_calls")  # what should not have to be found
LOOKS_S = 0.3
LIVE_RINGS_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Found:
    """What one sweep set right, by kind."""

    expired_leases: int = 0
    due_batches: int = 0
    due_runs: int = 0
    due_dependents: int = 0
    stale_ready_runs: int = 0
    lost_ready_runs: int = 0
    ended_live_calls: int = 0
    blocked_runs: int = 0
    unblocked_runs: int = 0
    rings: int = 0
    live_rings: int = 0


def sweep(*, now: datetime | None = None) -> Found:
    """Set right what is overdue or was lost, and ring for what is ready. Returns what it found.

    A part that fails is not in the way of the others; its error is raised at the end.
    """
    now = now or timezone.now()
    began = time.monotonic()
    standings: list[Standing] = []

    def look_at_limits() -> int:
        standings[:] = gates.standings()
        return blocking.unblock(standings, now=now)

    parts: dict[str, Callable[[], int]] = {
        "expired_leases": dispatch.expire_leases,
        "due_batches": lambda: dispatch.wake_due(now=now),
        "due_runs": lambda: queue_due_runs(now=now),
        "due_dependents": lambda: look_at_dependents(now=now),
        "stale_ready_runs": turns.drop_stale_ready_runs,
        "lost_ready_runs": turns.restore_lost_ready_runs,
        "ended_live_calls": lambda: lost_calls.end_overdue(now=now),
        "unblocked_runs": look_at_limits,
        "blocked_runs": lambda: blocking.block(standings, now=now),
        "rings": lambda: ring_for_ready(standings),
        "live_rings": lambda: ring_for_live(now=now),
    }
    counts: dict[str, int] = {}
    failures: list[Exception] = []
    for name, part in parts.items():
        try:
            counts[name] = part()
        except (OperationalError, InterfaceError):  # the database is away: the others would fail as well
            raise
        except Exception as error:
            log.error("sweep_part_failed", part=name, exc_info=error)
            failures.append(error)
    counters.count_sweep(counts, seconds=time.monotonic() - began)
    if told := {name: counts[name] for name in TOLD if counts.get(name)}:
        log.info("sweep_found", **told)
    if failures:
        raise failures[0]
    return Found(**counts)


def queue_due_runs(*, now: datetime, limit: int = dispatch.SWEEP_STEP) -> int:
    """Queue runs whose time has come: `start_after` has passed, or a retry is due. Returns how many."""
    due = Run.objects.places().due(now).order_by("postponed_until")[:limit]
    return sum(queue(run, now=now) for run in due)


def queue(run: Run, *, now: datetime) -> bool:
    """Move a run that waits to QUEUED and put it in line. Returns whether this call did it.

    One that still depends on others is looked at instead, and goes where that leads (`runs.dependents`).
    """
    with transaction.atomic():
        if dependencies.waits(run.pk) and not dependents.settle(run, now=now):
            return False
        queued = lifecycle.move(run.pk, RunStatus.QUEUED, now=now, postponed_until=None)
        if queued:
            turns.make_ready(run.pk, run.workspace_id, run.action_id)
    return queued


def look_at_dependents(*, now: datetime, step_s: float = LOOKS_S) -> int:
    """Look at runs that depend on others which moved, and queue those that wait no more. Returns at how many it looked.

    In the order they were launched: who waits for one of them is later, so a whole chain is told in one go. For about
    `step_s`: there may be thousands, and the rest of the sweep waits.
    """
    stop_at = time.monotonic() + step_s
    looked, run = 0, dependencies.next_due()
    while run:
        with transaction.atomic():
            if dependents.settle(run, now=now):
                queue(run, now=now)
        looked += 1
        run = dependencies.next_due(after=run.pk) if time.monotonic() < stop_at else None
    return looked


def look_at_forgotten_dependents(*, now: datetime) -> int:
    """Look at runs that were never told how those they depend on have ended. Returns how many there were."""
    forgotten = dependencies.ask_again(limit=dispatch.SWEEP_STEP)
    return look_at_dependents(now=now) if forgotten else 0


def ring_for_ready(standings: Sequence[Standing]) -> int:
    """Top the wakes that wait in the broker up to what is ready, at most 64, but of actions known to be closed.

    So an outage leaves no flood behind. Others may have the code of actions that this process knows nothing of.
    """
    closed = [standing.action_id for standing in standings if not standing.is_open]
    return _top_up(doorbell.RUNS, turns.ready_count(limit=MAX_WAKES_WAITING, but_of=closed))


def ring_for_live(*, now: datetime) -> int:
    """Do the same for live calls that have waited a while: each was rung for once, and that may have been lost."""
    waiting = Run.objects.waiting_live().filter(created_at__lt=now - LIVE_RINGS_AFTER)
    return _top_up(doorbell.LIVE, waiting[:MAX_WAKES_WAITING].count())


def _top_up(bell: doorbell.Bell, wanted: int) -> int:
    waiting = doorbell.count(bell) if wanted else None
    missing = 0 if waiting is None else min(wanted - waiting, doorbell.MAX_RINGS)
    return missing if missing > 0 and doorbell.ring(missing, bell) else 0
