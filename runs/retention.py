"""Deleting what is old: runs that ended longer ago than they are kept, with all that they hold.

A stopped run is not among them: someone may go on with it. One whose callbacks are still to arrive stays a week more.
Each run is a transaction of its own, which looks again at whether the run is still old. So two of these at once, a
resume or a kill at any moment leave each run whole or gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from runs import deletion
from runs.models import OutboxEntry, Run
from webhooks.models import Callback

log = structlog.get_logger(__name__)

STEP_S = 1.0  # of every three that beat lets pass: the sweep shares the worker
RUNS_LOOKED_UP = 20  # and the callbacks of each, which may be many


def prune(*, now: datetime | None = None, step_s: float = STEP_S) -> int:
    """Delete old runs, those that ended first before the others, for about `step_s`. Returns how many.

    One that cannot be deleted is not in the way of the others; the first error is raised at the end.
    """
    if settings.RUNYARD_RETENTION_DAYS is None:
        return 0
    stop_at = time.monotonic() + step_s
    ended_before = (now or timezone.now()) - timedelta(days=settings.RUNYARD_RETENTION_DAYS)
    deleted, failures = 0, list[Exception]()
    for run in _old_runs(ended_before):
        try:
            deleted += deletion.delete_old(run, ended_before=ended_before)
        except (OperationalError, InterfaceError):  # the database is away: the others would fail as well
            raise
        except Exception as error:
            log.error("old_run_not_deleted", run_uid=str(run.uid), exc_info=error)
            failures.append(error)
        if time.monotonic() >= stop_at:
            break
    if deleted:
        log.info("old_runs_deleted", count=deleted)
    if failures:
        raise failures[0]
    return deleted


def _old_runs(ended_before: datetime) -> Iterator[Run]:
    """Yield each run that ended before then once, although those that were deleted are found no more."""
    yielded: set[int] = set()
    old = Run.objects.ended_before(ended_before).filter(_waits_for_none(ended_before))
    while found := list(old.exclude(pk__in=yielded)[:RUNS_LOOKED_UP]):
        yield from found
        yielded.update(run.pk for run in found)


def _waits_for_none(ended_before: datetime) -> Q:
    """Return what says that no callback of a run is still to arrive, or that it is too old for that to matter.

    Here as well as in the deletion, so that those which stay are passed over and not held one by one.
    """
    unmade = OutboxEntry.objects.open().filter(run=OuterRef("pk"))
    undelivered = Callback.objects.filter(run_uid=OuterRef("uid")).undelivered()
    return Q(finished_at__lt=ended_before - deletion.CALLBACKS_WAIT) | (~Exists(unmade) & ~Exists(undelivered))
