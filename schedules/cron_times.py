"""The moments that a cron expression means in a time zone, when clocks are put forward or back too.

The rules are Debian cron's (`man 8 cron`; contract section 4), made exact where that leaves something open:

- **A cron that follows the clock** (minute or hour begins with `*`; `@hourly`) is due at every real minute whose local
  time it names. What is skipped is not due, and what happens twice is due twice.
- **A cron of fixed times**, forward: the times that were skipped are due at the moment the clock is put forward. All
  of one change are one due time, together with a time that is named for that moment anyway: a moment is due once.
- Fixed times, back: a time that happens twice is due once, at the first, however far the clock goes back.
- A clock put forward by more than three hours has been corrected, says Debian; skipped times are then not due. Those
  were whole days (Samoa had no 30 December 2011), and a run for a day that was not would surprise. Exactly three hours,
  of which the manual says nothing (Antarctica/Casey has them), count as a change like DST's.

Why not `cronsim` in the zone itself, which has the same rules (2.8): between the two 02:30 of a night in autumn it
answers the first, which is over; of Lord Howe's two 01:30 it leaves one out; it fires the missing day of Samoa.

Times here are UTC; to the minute as long as the zone's offset is one of whole minutes, which all are since 1972.
Nothing is due before 1970 or after the year 9000.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from schedules.clock_changes import Change, changes
from schedules.cron import Cron

CORRECTION = timedelta(hours=3)
"""More than this is no DST."""

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9001, 1, 1, tzinfo=UTC)

_INSTANT = timedelta(microseconds=1)
_NEAR = timedelta(days=2)
"""Twice the largest change there was, and less than lies between two."""


def next_time(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return the first due time later than `after` (UTC), or None when there is none up to `LAST`."""
    if after >= LAST:
        return None
    after = max(after, FIRST - _INSTANT)
    due = _next_time(cron, zone, after)
    return due if due <= LAST else None


def _next_time(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime:
    local, offset = cron.next_local(_reached(cron, zone, after)), _offset(zone, after)
    while True:
        due = (local - offset).replace(tzinfo=UTC)
        change = next(changes(zone, after, min(due, after + _NEAR)), None)
        if change is not None:
            skipped = change.is_forward and local < change.opening
            if skipped and not cron.follows_clock and not _is_correction(change):
                return change.at
            if skipped or (cron.follows_clock and not change.is_forward):
                local = cron.next_local(change.opening - _INSTANT)
            after, offset = change.at, change.after
        elif due - after <= _NEAR:
            return due
        else:
            # A change matters where it skips `local`, or brings back what was over at the start: near one or the other.
            after = due - _NEAR
            offset = _offset(zone, after)


def count_times(cron: Cron, zone: ZoneInfo, after: datetime, until: datetime) -> int:
    """Return how many due times are later than `after` and not later than `until` (UTC).

    Exact, and cheap: days are counted, not minutes (a year takes about 0.3 ms).
    """
    after, until = max(after, FIRST - _INSTANT), min(until, LAST)
    if until <= after:
        return 0
    count = 0
    reached = _reached(cron, zone, after)
    for change in changes(zone, after, until):
        closing, opening = change.closing - _INSTANT, change.opening - _INSTANT
        count += cron.count_local(reached, closing)
        if cron.follows_clock or _is_correction(change):
            reached = opening
        elif not change.is_forward:
            reached = max(reached, closing)
        elif cron.count_local(closing, opening):
            count += 1
            reached = change.opening
        else:
            reached = opening
    return count + cron.count_local(reached, until.astimezone(zone).replace(tzinfo=None))


def _reached(cron: Cron, zone: ZoneInfo, moment: datetime) -> datetime:
    """Return the local time up to which a cron is done at a moment.

    That is what the clock shows, and for fixed times, while local times happen again, the latest that it has shown.
    """
    local = moment.astimezone(zone)
    reached = local.replace(tzinfo=None, fold=0)
    if local.fold and not cron.follows_clock:
        for change in changes(zone, moment - _NEAR, moment):
            reached = max(reached, change.closing - _INSTANT)
    return reached


def _is_correction(change: Change) -> bool:
    return change.after - change.before > CORRECTION


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None  # a zone always knows
    return offset
