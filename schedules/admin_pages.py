"""What the admin shows of a schedule: when it is due, in words and in clocks, and what became of its due times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from heapq import merge
from itertools import groupby, islice
from statistics import median
from uuid import UUID

from schedules import cron, due_times, zones
from schedules.cron import BadCron
from schedules.lifecycle import ENDED
from schedules.missed import LATE
from schedules.models import Fire, FireKind, Schedule, ScheduleStatus
from schedules.zones import UnknownZone

DUE_TIMES_SHOWN = 10
FIRES_SHOWN = 100
STRIP_GOES_BACK = timedelta(days=30)
ON_TIME = timedelta(seconds=10)  # a tick comes every second

# How a line is called and shown: its word, and the class of its cell and badge.
ON_TIME_CELL, LATE_CELL = ("on time", "good"), ("late", "mixed")
CELLS = {
    FireKind.TRIGGERED: ("by hand", "moving"),
    FireKind.SKIPPED: ("skipped", "waiting"),
    FireKind.MISSED: ("missed", "bad"),
}
LEGEND = (ON_TIME_CELL, LATE_CELL, CELLS[FireKind.MISSED], CELLS[FireKind.SKIPPED], CELLS[FireKind.TRIGGERED])


# --- When it is due


def in_words(schedule: Schedule) -> str:
    """Return when a schedule is due, as a sentence: what its cron means, or the one time that it has."""
    first = _moment(schedule.schedule_at, _zone(schedule)) if schedule.schedule_at else ""
    if not schedule.cron:
        return f"Once, on {first}"
    try:
        meaning = cron.read(schedule.cron).explanation
    except BadCron as error:
        return str(error)
    return f"On {first}, then {meaning[:1].lower()}{meaning[1:]}" if first else meaning


@dataclass(frozen=True, slots=True)
class DueTime:
    """A due time on two clocks, and how far ahead it is. `has_changed`: the schedule's clock was put forward or back
    since the one before."""

    at: datetime
    local: str
    utc: str
    ahead: str
    has_changed: bool


def next_due(schedule: Schedule, now: datetime) -> list[DueTime]:
    """Return the next due times; of a paused schedule those it would have, and none of one that has ended."""
    if schedule.status in ENDED:
        return []
    try:
        rows = due_times.preview(schedule.timing, now, DUE_TIMES_SHOWN)
    except (UnknownZone, BadCron):
        return []
    offsets = [row.local.utcoffset() for row in rows]
    return [
        DueTime(
            row.at,
            f"{_moment(row.local, row.local.tzinfo or UTC)} {row.local.isoformat()[-6:]}",
            _moment(row.at, UTC),
            f"in {span(row.at - now)}",
            number > 0 and offsets[number] != offsets[number - 1],
        )
        for number, row in enumerate(rows)
    ]


def overdue(schedule: Schedule, now: datetime) -> str:
    """Return for how long a due time has waited that nobody fires, "12 min"; empty where none waits too long."""
    due_at = schedule.next_execution_at
    if schedule.status != ScheduleStatus.ACTIVE or due_at is None or now - due_at <= LATE:
        return ""
    return span(now - due_at)


# --- What became of it


@dataclass(frozen=True, slots=True)
class Line:
    """What became of a due time, in a word, with how late it was claimed and the colour that it is shown in."""

    fire: Fire
    word: str
    kind: str
    late: str
    local: datetime

    @property
    def run_uid(self) -> UUID | None:
        """The run that was launched."""
        return self.fire.run_uid

    @property
    def title(self) -> str:
        """All of it in a sentence, for a cell that has no room."""
        parts = [f"{self.local:%a} {self.local.day} {self.local:%b %Y, %H:%M}: {self.word}"]
        if self.late and self.word == LATE_CELL[0]:
            parts.append(f"by {self.late}")
        if self.fire.count > 1:
            parts.append(f"({self.fire.count:,} due times)")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Day:
    """The lines of one day of the schedule's calendar, oldest first."""

    name: str
    lines: list[Line]


def latest(schedule: Schedule) -> list[Line]:
    """Return what became of the latest hundred due times, and of what was triggered by hand meanwhile; latest first."""
    fires = Fire.objects.filter(schedule=schedule)
    # Two readings, each along the index by due time: in the order of their ids those of all schedules would be read.
    due = fires.filter(due_at__isnull=False).order_by("-due_at")[:FIRES_SHOWN]
    by_hand = fires.filter(due_at__isnull=True).order_by("-at")[:FIRES_SHOWN]
    together = merge(due, by_hand, key=_place, reverse=True)
    zone = _zone(schedule)
    return [_line(fire, zone) for fire in islice(together, FIRES_SHOWN)]


def strip(lines: Sequence[Line], now: datetime) -> list[Day]:
    """Return the lines of the last thirty days by days, oldest first."""
    recent = [line for line in reversed(lines) if _place(line.fire) >= now - STRIP_GOES_BACK]
    days = groupby(recent, key=lambda line: line.local.date())
    return [Day(f"{day.day} {day:%b}", list(of_day)) for day, of_day in days]


def legend(lines: Iterable[Line]) -> list[tuple[str, str, int]]:
    """Return each word that there are lines of, with its class and how many there are."""
    words = [line.word for line in lines]
    return [(word, kind, words.count(word)) for word, kind in LEGEND if word in words]


def lateness(lines: Iterable[Line]) -> str:
    """Return how late due times were fired, as a sentence; empty where none were."""
    fired = [line.fire for line in lines if line.fire.kind == FireKind.FIRED and line.fire.due_at]
    late = [late_by(fire.due_at, fire.at).total_seconds() for fire in fired]
    if not late:
        return ""
    middle, most = timedelta(seconds=median(late)), timedelta(seconds=max(late))
    return f"Half of them were fired within {span(middle)}, all within {span(most)}."


def late_by(due_at: datetime | None, at: datetime) -> timedelta:
    """Return how late a due time was claimed. Its clock is the database's, so what is before it is rounding."""
    return max(at - due_at, timedelta()) if due_at else timedelta()


def word_and_kind(kind: str, late: timedelta) -> tuple[str, str]:
    """Return how a line is called, and its colour."""
    return CELLS.get(FireKind(kind)) or (ON_TIME_CELL if late <= ON_TIME else LATE_CELL)


def span(time: timedelta) -> str:
    """Return a stretch of time to two parts: "0.4 s", "12 min", "3 h 20 min", "5 days 2 h"."""
    seconds = time.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    hours, days = minutes // 60, minutes // 1440
    if not hours:
        return f"{minutes} min"
    first, rest = (f"{days:,} day{'s' if days > 1 else ''}", hours % 24) if days else (f"{hours} h", minutes % 60)
    return f"{first} {rest} {'h' if days else 'min'}" if rest else first


def _line(fire: Fire, zone: tzinfo) -> Line:
    late = late_by(fire.due_at, fire.at)
    word, kind = word_and_kind(fire.kind, late)
    return Line(fire, word, kind, span(late) if fire.due_at else "", _place(fire).astimezone(zone))


def _place(fire: Fire) -> datetime:
    return fire.due_at or fire.at


def _zone(schedule: Schedule) -> tzinfo:
    """Return the schedule's zone; UTC for one that is none any more."""
    try:
        return zones.find(schedule.timezone)
    except UnknownZone:
        return UTC


def _moment(moment: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M}{f':{local:%S}' if local.second else ''}"
