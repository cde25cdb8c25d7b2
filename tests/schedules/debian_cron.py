"""Debian's cron as its manual tells it: it wakes at every real minute and looks at the clock. An oracle, and slow.

`man 8 cron`: "Special considerations exist when the clock is changed by less than 3 hours ... If the time has moved
forwards, those jobs which would have run in the time that was skipped will be run soon after the change. Conversely, if
the time has moved backwards by less than 3 hours, those jobs that fall into the repeated time will not be re-run. Only
jobs that run at a particular time (not specified as @hourly, nor with '*' in the hour or minute specifier) are
affected. Jobs which are specified with wildcards are run based on the new time immediately. Clock changes of more than
3 hours are considered to be corrections to the clock, and the new time is used immediately."
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

MINUTE = timedelta(minutes=1)
THREE_HOURS = timedelta(hours=3)
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@dataclass(frozen=True)
class Job:
    """An expression with its meaning, put together beside it. `days_of_week` has Sunday as 0."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days_of_month: frozenset[int]
    months: frozenset[int]
    days_of_week: frozenset[int]

    @cached_property
    def has_wildcards(self) -> bool:
        minute, hour = self.text.split()[:2]
        return minute.startswith("*") or hour.startswith("*")

    @cached_property
    def needs_both(self) -> bool:
        """Whether a day must be both a day of the month and a day of the week that are named, and not one of them."""
        fields = self.text.split()
        return fields[2].startswith("*") or fields[4].startswith("*")

    @property
    def can_come(self) -> bool:
        longest = max({2: 29, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31) for month in self.months)
        return not self.needs_both or min(self.days_of_month) <= longest

    def names(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        dates = local.day in self.days_of_month, local.isoweekday() % 7 in self.days_of_week
        return all(dates) if self.needs_both else any(dates)


def runs_of(job: Job, zone: ZoneInfo, start: datetime, days: int) -> list[datetime]:
    """Return the real minutes in which cron, at work since before `start`, runs the job in so many days."""
    runs = []
    done = local_minutes(zone, start - MINUTE, 1)[0]
    for at, local in enumerate(local_minutes(zone, start, days * 1_440)):
        moved = local - done - MINUTE
        if moved > THREE_HOURS or moved < -THREE_HOURS:
            done = local - MINUTE
            moved = timedelta(0)
        if job.has_wildcards:
            is_due = job.names(local)
        else:
            missed = (done + MINUTE * step for step in range(1, moved // MINUTE + 2))
            is_due = any(job.names(minute) for minute in missed)
        done = max(done, local)
        if is_due:
            runs.append(start + MINUTE * at)
    return runs


@lru_cache(maxsize=256)
def local_minutes(zone: ZoneInfo, start: datetime, count: int) -> list[datetime]:
    return [(start + MINUTE * step).astimezone(zone).replace(tzinfo=None, fold=0) for step in range(count)]


@lru_cache(maxsize=1_024)
def days_of_change(zone: ZoneInfo, year: int) -> list[datetime]:
    """Return the midnights (UTC) of a year after which the offset changes within a day, or that of 1 January."""
    midnights = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(366)]
    offsets = [midnight.astimezone(zone).utcoffset() for midnight in midnights]
    return [at for at, one, other in zip(midnights, offsets, offsets[1:], strict=False) if one != other] or midnights[
        :1
    ]


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Draw expressions; many of them at the hours and days at which clocks are changed."""
    fields = (
        draw(_fields(0, 59)),
        draw(_fields(0, 4) | _fields(0, 23)),
        draw(_any(1, 31) | _any(1, 31) | _fields(1, 31)),
        draw(_any(1, 12) | _any(1, 12) | _fields(1, 12, MONTHS)),
        draw(_any(0, 6) | _any(0, 6) | _fields(0, 7, DAYS)),
    )
    return Job(
        " ".join(text for text, _ in fields),
        *(values for _, values in fields[:4]),
        frozenset(value % 7 for value in fields[4][1]),
    )


def _any(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    return st.just(("*", frozenset(range(low, high + 1))))


def _fields(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    terms = st.lists(_terms(low, high, names or []), min_size=1, max_size=3)
    return terms.map(lambda some: (",".join(text for text, _ in some), frozenset().union(*(has for _, has in some))))


@st.composite
def _terms(draw: st.DrawFn, low: int, high: int, names: list[str]) -> tuple[str, frozenset[int]]:
    whole = {4: 23}.get(high, high)
    kind = draw(st.sampled_from(["*", "value", "value", "range"]))
    first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    if kind == "*":
        first, last = low, whole
    elif kind == "value":
        last = first
    values = range(first, last + 1)
    text = "*" if kind == "*" else "-".join(_spelled(draw, value, low, names) for value in (first, last))
    if kind == "value":
        return text.split("-")[0], frozenset(values)
    if draw(st.booleans()):
        step = draw(st.integers(1, 7 if whole == 7 else 12))
        return f"{text}/{step}", frozenset(values[::step])
    return text, frozenset(values)


def _spelled(draw: st.DrawFn, value: int, low: int, names: list[str]) -> str:
    if value - low < len(names) and draw(st.booleans()):
        return draw(st.sampled_from([str.upper, str.lower, str.title]))(names[value - low])
    return f"{value:02}" if draw(st.booleans()) else str(value)
