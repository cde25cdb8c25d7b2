"""What becomes of the due times of a schedule, and of those that were missed: pure, from the times to its lines.

A due time is missed when it is claimed over 60 s late, since the system was down. `catch_up` says what then happens:
one run for all that were missed, none, or a run each for the last hundred (contract sections 1 and 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rest.json import rfc3339
from schedules.models import CatchUp, FireKind

MISSED_AFTER = timedelta(seconds=60)
CAUGHT_UP = 100  # at most, by `catch_up: all`


@dataclass(frozen=True, slots=True)
class DueTimes:
    """The first due times of a schedule that nothing has become of yet, in order, and the one that follows them.

    There may be more that have come than are listed: `following` is then in the past as well. None: there is none.
    At least as many as are caught up are listed where there are as many.
    """

    times: Sequence[datetime]
    following: datetime | None


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of `count` due times in a row, `due_at` the last of them. FIRED asks for a run."""

    kind: FireKind
    due_at: datetime
    count: int = 1
    reason: str = ""


def settle(due: DueTimes, *, catch_up: str, now: datetime, runs_at_most: int) -> tuple[list[Line], datetime | None]:
    """Return what becomes of the due times, in order, and the first about which nothing is said yet.

    No more than `runs_at_most` lines ask for a run: what is left is due at once, and comes with the next call.
    """
    lines: list[Line] = []
    settled = runs = 0
    for line in _lines(due, catch_up=catch_up, now=now):
        runs += line.kind == FireKind.FIRED
        if runs > runs_at_most:
            break
        lines.append(line)
        settled += line.count
    return lines, due.times[settled] if settled < len(due.times) else due.following


def is_missed(due_at: datetime | None, now: datetime) -> bool:
    return due_at is not None and now - due_at > MISSED_AFTER


def _lines(due: DueTimes, *, catch_up: str, now: datetime) -> Iterator[Line]:
    missed = [at for at in due.times if is_missed(at, now)]
    more_missed = is_missed(due.following, now)
    if missed:
        yield from _CATCH_UP[CatchUp(catch_up)](missed, more_missed, now)
    if not more_missed:
        for at in due.times[len(missed) :]:
            yield Line(FireKind.FIRED, at)


def _none(missed: Sequence[datetime], more_missed: bool, now: datetime) -> Iterator[Line]:
    yield Line(FireKind.MISSED, missed[-1], len(missed), f"{_late(missed[-1], now)}; catch_up is none")


def _one(missed: Sequence[datetime], more_missed: bool, now: datetime) -> Iterator[Line]:
    if more_missed:
        yield Line(FireKind.MISSED, missed[-1], len(missed), "one run for the last that was missed stands for them")
    elif len(missed) == 1:
        yield Line(FireKind.FIRED, missed[0], 1, _late(missed[0], now))
    else:
        stands_for = f"it stands for {len(missed):,} due times that were missed, from {rfc3339(missed[0])} on"
        yield Line(FireKind.FIRED, missed[-1], len(missed), stands_for)


def _all(missed: Sequence[datetime], more_missed: bool, now: datetime) -> Iterator[Line]:
    # Of those behind the list at least one is among the last hundred. How many are is seen with the next call.
    kept = CAUGHT_UP - 1 if more_missed else CAUGHT_UP
    older, last = missed[:-kept], missed[-kept:]
    if older:
        reason = f"only the last {CAUGHT_UP} that were missed are caught up"
        yield Line(FireKind.MISSED, older[-1], len(older), reason)
    if not more_missed:
        for at in last:
            yield Line(FireKind.FIRED, at, 1, _late(at, now))


_CATCH_UP = {CatchUp.ONE: _one, CatchUp.NONE: _none, CatchUp.ALL: _all}


def _late(due_at: datetime, now: datetime) -> str:
    return f"{(now - due_at).total_seconds():,.0f} s late"
