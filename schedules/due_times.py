"""When a schedule is due: the one function that firing and preview both ask.

What a `Timing` means (contract sections 1 and 4):
- with `cron` alone, the times of `cron_times`;
- with `schedule_at` alone, that moment, once, to the second as it was given;
- with both, first `schedule_at`, then the cron's times later than it;
- nothing before `starts_at` or after `ends_at`, a `schedule_at` included. What is due at these moments themselves is
  due: people say "until 18:00" and mean the run at 18:00 too.

Everything else is asked of `next_due`, so that all answers agree. Counting is apart, because it need not name each time
(`cron_times.count_times`). Moments are aware; answers are in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

from schedules import cron_times, zones
from schedules.cron import read

_INSTANT = timedelta(microseconds=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Timing:
    """When a schedule is due, in its own words: a cron expression, a zone's name, and moments that are aware.

    Raises:
        ValueError: neither `cron` nor `schedule_at`, or a moment without a zone. A defect of the caller's.
    """

    cron: str | None
    timezone: str = "UTC"
    schedule_at: datetime | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.cron is None and self.schedule_at is None:
            raise ValueError("a timing has a cron, a schedule_at, or both")
        for moment in (self.schedule_at, self.starts_at, self.ends_at):
            if moment is not None:
                _utc(moment)


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A due time: `at` in UTC, and `local`, the same moment as the schedule's zone shows it, with its offset."""

    at: datetime
    local: datetime


def next_due(timing: Timing, after: datetime) -> datetime | None:
    """Return the first due time later than `after`, or None when there is none any more.

    Raises:
        BadCron, UnknownZone: the expression is none; the zone is none, or none any more.
    """
    zone = zones.find(timing.timezone)
    cron = None if timing.cron is None else read(timing.cron)
    after = _utc(after)
    if timing.starts_at is not None:
        after = max(after, _utc(timing.starts_at) - _INSTANT)
    due: datetime | None
    if timing.schedule_at is not None and after < timing.schedule_at:
        due = _utc(timing.schedule_at)
    elif cron is not None:
        due = cron_times.next_time(cron, zone, after)
    else:
        due = None
    return None if due is None or (timing.ends_at is not None and due > timing.ends_at) else due


def due_times(timing: Timing, after: datetime) -> Iterator[datetime]:
    """Yield the due times later than `after`, in order; without an end where the schedule has none."""
    while (due := next_due(timing, after)) is not None:
        yield due
        after = due


def preview(timing: Timing, after: datetime, count: int) -> list[PreviewRow]:
    """Return the next `count` due times later than `after` (contract section 4), fewer when there are no more."""
    zone = zones.find(timing.timezone)
    return [PreviewRow(at, at.astimezone(zone)) for at in islice(due_times(timing, after), count)]


def count_due(timing: Timing, after: datetime, until: datetime) -> int:
    """Return how many due times are later than `after` and not later than `until`. Exact, without naming each.

    Raises:
        BadCron, UnknownZone: as `next_due`.
    """
    zone = zones.find(timing.timezone)
    cron = None if timing.cron is None else read(timing.cron)
    after, until = _utc(after), _utc(until)
    if timing.starts_at is not None:
        after = max(after, _utc(timing.starts_at) - _INSTANT)
    if timing.ends_at is not None:
        until = min(until, _utc(timing.ends_at))
    count = 0
    if timing.schedule_at is not None and after < timing.schedule_at:
        count += timing.schedule_at <= until
        after = _utc(timing.schedule_at)
    return count if cron is None else count + cron_times.count_times(cron, zone, after, until)


def first_due(timing: Timing, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Return the first `limit` due times later than `after` and not later than `until`, oldest first."""
    until = _utc(until)
    return list(islice(takewhile(lambda due: due <= until, due_times(timing, after)), max(limit, 0)))


def last_due(timing: Timing, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Return the last `limit` due times later than `after` and not later than `until`, oldest first.

    Looks back from `until` by counting, so that what it costs does not grow with all that lies before.
    """
    after, until = _utc(after), _utc(until)
    if limit < 1:
        return []
    if count_due(timing, after, until) > limit:
        after = _before_the_last(timing, after, until, limit)
    return list(takewhile(lambda due: due <= until, due_times(timing, after)))[-limit:]


def _before_the_last(timing: Timing, after: datetime, until: datetime, limit: int) -> datetime:
    """Return a moment with at least `limit` due times up to `until`, and none or few more."""
    few, span = until, _MINUTE
    while count_due(timing, until - span, until) < limit:
        few = until - span
        span *= 2
    enough = max(after, until - span)
    while few - enough > _MINUTE:
        middle = enough + (few - enough) / 2
        if count_due(timing, middle, until) < limit:
            few = middle
        else:
            enough = middle
    return enough


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"a moment needs a zone, and {moment.isoformat()} has none")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
