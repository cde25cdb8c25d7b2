"""The one writer of Schedule.status: each change is a compare-and-set that says whether it won."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from schedules.models import Schedule, ScheduleStatus


def complete(schedule_ids: Sequence[int], *, now: datetime) -> int:
    """Move schedules to COMPLETED that have fired all they had to. Returns how many."""
    active = Schedule.objects.filter(pk__in=schedule_ids, status=ScheduleStatus.ACTIVE)
    return active.update(status=ScheduleStatus.COMPLETED, next_execution_at=None, updated_at=now)


def pause_because(schedule_id: int, error: dict[str, Any], *, now: datetime) -> bool:
    """Pause a schedule that cannot go on, with the reason. Returns whether this call did it."""
    active = Schedule.objects.filter(pk=schedule_id, status=ScheduleStatus.ACTIVE)
    changes = {"next_execution_at": None, "last_error": error, "updated_at": now}
    return active.update(status=ScheduleStatus.PAUSED, **changes) == 1
