"""Cron expressions: reading them, and the local times they name.

Five fields (minute, hour, day-of-month, month, day-of-week; `cron_fields` says what each takes) or a macro: `@hourly`,
`@daily` (or `@midnight`), `@weekly`, `@monthly`, `@yearly` (or `@annually`), the two other names being Debian cron's.
Spaces and tabs part the fields. Refused with a reason are other numbers of fields (seconds, years), `@reboot`, what is
not cron's (`L`, `W`, `#`, `?`), and dates that never come, such as 30 February.

When neither day-of-month nor day-of-week begins with `*`, a day needs to be one of the two; otherwise it must be both
(Debian's crontab(5)). So `0 0 30 2 1` is every Monday in February, and `0 0 30 2 *` is refused. Any date that can come
does so within 40 years (29 February on a given weekday, around 2100), so a cron that was not refused always has a next
time.

`cronsim` reads the fields, says which days they mean and explains them in words. The steps from one local time to the
next are taken here: its own cost five to twenty times as much, and in a zone with DST they are not always right (see
`cron_times`).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from schedules.cron_fields import FIELDS, BadCron, check

__all__ = ["MAX_LENGTH", "BadCron", "Cron", "read"]

MAX_LENGTH = 255
"""In characters. Ranges and steps keep far below it."""

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_UNREADABLE = re.compile(r"[^\t\x20-\x7e]")
_DAY = timedelta(days=1)
_LONGEST_WAIT = timedelta(days=41 * 366)
_ANY_TIME = datetime(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression that was read. Local times are `datetime`s without a zone.

    `follows_clock` is Debian's "wildcard job": minute or hour begins with `*`, so that it goes by what the clock shows,
    whatever was skipped or comes twice.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    follows_clock: bool
    _sim: CronSim

    @property
    def explanation(self) -> str:
        """What it means in English, such as "At 09:00 on Monday through Friday"."""
        return self._sim.explain()

    def next_local(self, after: datetime) -> datetime:
        """Return the first local time in a later minute than `after`'s. The year of that is 9950 at most."""
        day = after.date()
        if self._has(day):
            if after.hour in self.hours and after.minute < self.minutes[-1]:
                minute = self.minutes[bisect_right(self.minutes, after.minute)]
                return datetime.combine(day, time(after.hour, minute))
            if after.hour < self.hours[-1]:
                return datetime.combine(day, time(self.hours[bisect_right(self.hours, after.hour)], self.minutes[0]))
        return datetime.combine(next(self._days(day + _DAY, day + _LONGEST_WAIT)), time(self.hours[0], self.minutes[0]))

    def count_local(self, after: datetime, until: datetime) -> int:
        """Return how many local times are in a later minute than `after`'s and not in a later one than `until`'s."""
        if until <= after:
            return 0
        first, last = after.date(), until.date()
        per_day = len(self.hours) * len(self.minutes)
        count = per_day * sum(1 for _ in self._days(first, last))
        if self._has(first):
            count -= self._count_in_day(after)
        if self._has(last):
            count -= per_day - self._count_in_day(until)
        return count

    def _has(self, day: date) -> bool:
        return day.month in self.months and self._sim.match_day(day)

    def _days(self, day: date, last: date) -> Iterator[date]:
        """Yield the days that have local times, from `day` to `last`. Months without any are passed in one step."""
        while day <= last:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            if self._sim.match_day(day):
                yield day
            day += _DAY

    def _count_in_day(self, until: datetime) -> int:
        """Return how many local times of a day that has some are not in a later minute than `until`'s."""
        count = bisect_left(self.hours, until.hour) * len(self.minutes)
        return count + bisect_right(self.minutes, until.minute) if until.hour in self.hours else count


@lru_cache(maxsize=2_048)
def read(text: str) -> Cron:
    """Return the cron expression that `text` is (contract section 1, schedule).

    Raises:
        BadCron: it is none; the message says why.
    """
    fields = _fields(text)
    numbers = [check(field, part) for field, part in zip(FIELDS, fields, strict=True)]
    try:
        sim = CronSim(" ".join(numbers), _ANY_TIME)
    except CronSimError:
        raise BadCron(
            f"The cron expression names a date that never comes: there is no day {fields[2]} in month {fields[3]}. "
            "Allowed: days that at least one of its months has.",
            "day-of-month",
            "days that at least one of its months has",
        ) from None
    return Cron(
        text=text,
        minutes=tuple(sorted(sim.minutes)),
        hours=tuple(sorted(sim.hours)),
        months=frozenset(sim.months),
        follows_clock=numbers[0].startswith("*") or numbers[1].startswith("*"),
        _sim=sim,
    )


def _fields(text: str) -> list[str]:
    """Return the five fields of an expression or a macro."""
    if len(text) > MAX_LENGTH:
        raise BadCron(f"The cron expression is longer than {MAX_LENGTH} characters: say it with ranges and steps.")
    if bad := _UNREADABLE.search(text):
        raise BadCron(f"The cron expression has a {bad[0]!r} in it, which means nothing to cron.")
    fields = text.split()
    if not fields:
        raise BadCron(
            "The cron expression is empty. Allowed: five fields, such as 0 9 * * MON-FRI, or a macro (@daily)."
        )
    if fields[0].startswith("@"):
        return _expansion(text.strip())
    if "=" in fields[0]:
        raise BadCron("The cron expression has a variable in front: give the time zone in the field timezone.")
    if len(fields) != len(FIELDS):
        names = " ".join(field.name for field in FIELDS)
        more = "; there are no seconds and no years" if len(fields) > len(FIELDS) else ""
        raise BadCron(f"The cron expression has {len(fields)} field(s) and needs five: {names}{more}.")
    return fields


def _expansion(macro: str) -> list[str]:
    if macro.lower() in MACROS:
        return MACROS[macro.lower()].split()
    allowed = ", ".join(MACROS)
    why = "there is no boot to wait for" if macro.lower() == "@reboot" else "it is not known"
    raise BadCron(f"The cron macro {macro[:40]!r} is refused: {why}. Allowed: {allowed}.", "", allowed)
