"""Deleting what is old of schedules: what became of due times longer ago than runs are kept."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from schedules.models import Fire

log = structlog.get_logger(__name__)

STEP_S = 0.5  # of every ten that beat lets pass
DELETED_TOGETHER = 1_000


def prune(*, now: datetime | None = None, step_s: float = STEP_S) -> int:
    """Delete old lines, the oldest first, for about `step_s`. Returns how many. Schedules themselves stay."""
    if settings.RUNYARD_RETENTION_DAYS is None:
        return 0
    stop_at = time.monotonic() + step_s
    written_before = (now or timezone.now()) - timedelta(days=settings.RUNYARD_RETENTION_DAYS)
    old = Fire.objects.filter(at__lt=written_before).order_by("at").values("pk")
    deleted, found = 0, DELETED_TOGETHER
    while found == DELETED_TOGETHER and (not deleted or time.monotonic() < stop_at):
        found, _ = Fire.objects.filter(pk__in=old[:DELETED_TOGETHER]).delete()
        deleted += found
    if deleted:
        log.info("old_fires_deleted", count=deleted)
    return deleted
