"""When a schedule is due: the one function behind firing and previews."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim


@dataclass(frozen=True, slots=True)
class Timing:
    """When a schedule is due, as its fields say it."""

    cron: str
    timezone: str
    schedule_at: datetime | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None


def next_due(timing: Timing, after: datetime) -> datetime | None:
    """Return the first due time strictly after `after`, None where there is none."""
    first = timing.schedule_at
    if first and first > after:
        return first if not timing.ends_at or first <= timing.ends_at else None
    if not timing.cron:
        return None
    start = max(filter(None, (after, first)))
    if timing.starts_at and timing.starts_at > start:
        start = timing.starts_at - timedelta(microseconds=1)
    found = next(CronSim(timing.cron, start.astimezone(ZoneInfo(timing.timezone)))).astimezone(UTC)
    return found if not timing.ends_at or found <= timing.ends_at else None
