"""What becomes of the due times of a schedule, and of those that were missed: pure, from the times to its lines.

A due time is missed when it is claimed over 60 s late, since the system was down. `catch_up` says what then happens:
one run for all that were missed, none, or a run each for the last hundred (contract sections 1 and 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rest.json import rfc3339
from schedules.due_times import Timing, count_due, first_due, last_due, next_due
from schedules.models import CatchUp, FireKind

LATE = timedelta(seconds=60)  # what is claimed later was missed
CAUGHT_UP = 100  # at most, by `catch_up: all`
_INSTANT = timedelta(microseconds=1)
_TIMELY = 10  # more than are due within that


@dataclass(frozen=True, slots=True)
class DueTimes:
    """The due times of a schedule up to a moment, in order. Those missed are counted and only the last of them named:
    there may be as many as a system was down minutes."""

    first: datetime
    missed_count: int
    last_missed: Sequence[datetime]
    timely: Sequence[datetime]
    following: datetime | None


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of `count` due times in a row, `due_at` the last of them. FIRED asks for a run."""

    kind: FireKind
    due_at: datetime
    count: int = 1
    reason: str = ""


def find(timing: Timing, first: datetime, *, catch_up: str, now: datetime) -> DueTimes:
    """Return the due times from `first`, which is known to be one and has come, up to `now`.

    Raises:
        UnknownZone, BadCron: those after the first cannot be known.
    """
    missed_until = now - LATE - _INSTANT
    following = next_due(timing, now)
    timely = first_due(timing, max(first, missed_until), now, _TIMELY)
    if first > missed_until:
        return DueTimes(first, 0, [], [first, *timely], following)
    # The first is not asked for again: its zone may have changed since it was worked out.
    named = CAUGHT_UP + 1 if catch_up == CatchUp.ALL else 1
    last_missed = [first, *last_due(timing, first, missed_until, named)]
    return DueTimes(first, 1 + count_due(timing, first, missed_until), last_missed[-named:], timely, following)


def only(first: datetime, *, now: datetime) -> DueTimes:
    """Return due times of which the first is all that is known."""
    if now - first > LATE:
        return DueTimes(first, 1, [first], [], None)
    return DueTimes(first, 0, [], [first], None)


def settle(due: DueTimes, *, catch_up: str, now: datetime, runs_at_most: int) -> tuple[list[Line], datetime | None]:
    """Return what becomes of the due times, in order, and the first about which nothing is said yet.

    No more than `runs_at_most` lines (1 or more) ask for a run. What is left is due still, and comes with the next
    call.
    """
    lines: list[Line] = []
    runs = 0
    for line in _lines(due, CatchUp(catch_up), now):
        runs += line.kind == FireKind.FIRED
        if runs > runs_at_most:
            return lines, line.due_at
        lines.append(line)
    return lines, due.following


def _lines(due: DueTimes, catch_up: CatchUp, now: datetime) -> Iterator[Line]:
    if due.missed_count:
        yield from _CATCH_UP[catch_up](due, now)
    for at in due.timely:
        yield Line(FireKind.FIRED, at)


def _none(due: DueTimes, now: datetime) -> Iterator[Line]:
    last = due.last_missed[-1]
    yield Line(FireKind.MISSED, last, due.missed_count, f"{_late(last, now)}; catch_up is none")


def _one(due: DueTimes, now: datetime) -> Iterator[Line]:
    last, reason = due.last_missed[-1], _late(due.last_missed[-1], now)
    if due.missed_count > 1:
        reason = f"stands for {due.missed_count:,} due times that were missed, from {rfc3339(due.first)} on"
    yield Line(FireKind.FIRED, last, due.missed_count, reason)


def _all(due: DueTimes, now: datetime) -> Iterator[Line]:
    older_count = due.missed_count - CAUGHT_UP
    if older_count > 0:
        reason = f"only the last {CAUGHT_UP} that were missed are caught up"
        yield Line(FireKind.MISSED, due.last_missed[0], older_count, reason)
    for at in due.last_missed[-CAUGHT_UP:]:
        yield Line(FireKind.FIRED, at, 1, _late(at, now))


_CATCH_UP = {CatchUp.ONE: _one, CatchUp.NONE: _none, CatchUp.ALL: _all}


def _late(due_at: datetime, now: datetime) -> str:
    return f"{(now - due_at).total_seconds():,.0f} s late"
