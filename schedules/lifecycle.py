"""The one state machine of schedules: every change of `Schedule.status` happens here.

A change is one `UPDATE ... WHERE status IN (...)` whose row count says who won. Whoever is not ACTIVE has no next time:
it is worked out anew when a schedule is resumed, from that moment on, so that a paused time is not caught up.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import transaction

from rest.errors import Conflict, NotFound
from schedules import due_times, pending
from schedules.clock import database_time
from schedules.models import Schedule, ScheduleStatus
from schedules.zones import UnknownZone

S = ScheduleStatus

TRANSITIONS: dict[ScheduleStatus, frozenset[ScheduleStatus]] = {
    S.ACTIVE: frozenset({S.PAUSED, S.CANCELLED, S.COMPLETED}),
    S.PAUSED: frozenset({S.ACTIVE, S.CANCELLED}),
    S.CANCELLED: frozenset(),
    S.COMPLETED: frozenset(),
}
"""What may follow what (contract section 4)."""

ENDED = frozenset({S.CANCELLED, S.COMPLETED})


def pause(schedule: Schedule, *, now: datetime | None = None) -> Schedule:
    """Have a schedule fire nothing until it is resumed, and return it. One that is paused stays as it is.

    Raises:
        Conflict: it is cancelled or completed.
        NotFound: it was deleted.
    """
    with transaction.atomic():
        held, now = hold(schedule), now or database_time()
        if held.status == S.PAUSED:
            return held
        refuse_ended(held)
        pending.give_up(held, now=now, reason="paused before it was fired")
        return _moved(held, S.PAUSED, now=now, next_execution_at=None)


def resume(schedule: Schedule, *, now: datetime | None = None) -> Schedule:
    """Have a paused schedule fire again, from its first due time after now, and return it.

    One that is active stays as it is.

    Raises:
        Conflict: it is cancelled or completed, has no due time any more, or its time zone is none any more.
        NotFound: it was deleted.
    """
    with transaction.atomic():
        held, now = hold(schedule), now or database_time()
        if held.status == S.ACTIVE:
            return held
        refuse_ended(held)
        return _moved(held, S.ACTIVE, now=now, next_execution_at=_next_due(held, now), last_error=None)


def cancel(schedule: Schedule, *, now: datetime | None = None) -> Schedule:
    """Have a schedule fire nothing any more, and return it. One that is cancelled stays as it is.

    Raises:
        Conflict: it is completed.
        NotFound: it was deleted.
    """
    with transaction.atomic():
        held, now = hold(schedule), now or database_time()
        if held.status == S.CANCELLED:
            return held
        refuse_ended(held)
        pending.give_up(held, now=now, reason="cancelled before it was fired")
        return _moved(held, S.CANCELLED, now=now, next_execution_at=None)


def complete(schedule_ids: Collection[int], *, now: datetime) -> int:
    """Move schedules to COMPLETED that have fired all they had to. Returns how many this call moved."""
    active = Schedule.objects.filter(pk__in=schedule_ids, status__in=_from(S.COMPLETED))
    return active.update(status=S.COMPLETED, next_execution_at=None, updated_at=now)


def pause_because(schedule_id: int, error: dict[str, Any], *, now: datetime) -> bool:
    """Pause a schedule that cannot go on, with the reason. Returns whether this call did it."""
    return _move(schedule_id, S.PAUSED, now=now, next_execution_at=None, last_error=error)


def hold(schedule: Schedule) -> Schedule:
    """Lock a schedule until the transaction ends, and return it as it is now: nobody fires or changes it meanwhile.

    Raises:
        NotFound: it was deleted.
    """
    # Locked first, then read: in one statement, whoever waited would look for new inputs as of before they were there.
    if Schedule.objects.select_for_update(no_key=True).filter(pk=schedule.pk).exists():
        return Schedule.objects.as_shown().get(pk=schedule.pk)
    raise NotFound("There is no such schedule.", {"schedule_uid": str(schedule.uid)})


def refuse_ended(schedule: Schedule) -> None:
    """Raise `Conflict` for a schedule that is cancelled or completed: neither is ever anything else again."""
    if schedule.status in ENDED:
        raise Conflict(f"The schedule is {schedule.status}, and stays so. Make a new one.", {"status": schedule.status})


def _next_due(held: Schedule, now: datetime) -> datetime:
    try:
        found = due_times.next_due(held.timing, now)
    except UnknownZone as error:
        raise Conflict(
            f"timezone: {error} Give the schedule another one, then resume it.",
            {"status": held.status, "field": "timezone"},
        ) from None
    if found is None:
        raise Conflict(
            "The schedule has no due time any more: schedule_at or ends_at has passed. Change them, then resume it.",
            {"status": held.status},
        )
    return found


def _moved(held: Schedule, target: ScheduleStatus, *, now: datetime, **changes: Any) -> Schedule:
    _move(held.pk, target, now=now, **changes)
    return Schedule.objects.as_shown().get(pk=held.pk)


def _move(schedule_id: int, target: ScheduleStatus, *, now: datetime, **changes: Any) -> bool:
    rows = Schedule.objects.filter(pk=schedule_id, status__in=_from(target))
    return rows.update(status=target, updated_at=now, **changes) == 1


def _from(target: ScheduleStatus) -> list[ScheduleStatus]:
    return [status for status, following in TRANSITIONS.items() if target in following]
