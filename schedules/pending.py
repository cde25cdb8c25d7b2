"""Due times that have come and that nobody has fired yet, of a schedule that does not go on to them.

Mostly there is none: a due time is fired within a second. There is after an outage, and when somebody changes a
schedule in that very second.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F

from schedules import due_times, totals
from schedules.models import Fire, FireKind, Schedule, ScheduleStatus
from schedules.zones import UnknownZone

INSTANT = timedelta(microseconds=1)


def is_pending(schedule: Schedule, now: datetime) -> bool:
    """Say whether a due time has come that nobody has fired yet."""
    is_active = schedule.status == ScheduleStatus.ACTIVE
    return is_active and schedule.next_execution_at is not None and schedule.next_execution_at <= now


def give_up(held: Schedule, *, now: datetime, reason: str) -> int:
    """Count the due times that have come as missed, in the transaction that holds the schedule. Returns how many.

    They stand in its timeline with `reason`.
    """
    first = held.next_execution_at
    if first is None or not is_pending(held, now):
        return 0
    try:
        count = due_times.count_due(held.timing, first - INSTANT, now)
        last = due_times.last_due(held.timing, first - INSTANT, now, 1)[-1]
    except (UnknownZone, IndexError):
        # Its zone has changed since the time was worked out: then that one is all that is known.
        count, last = 1, first
    fire = Fire.objects.create(schedule=held, kind=FireKind.MISSED, due_at=last, at=now, count=count, reason=reason)
    Schedule.objects.filter(pk=held.pk).update(missed_count=F("missed_count") + count)
    totals.add([fire])
    return count
