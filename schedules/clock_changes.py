"""When a zone's clock is put forward or back.

`zoneinfo` tells the offset at a moment and not when it changes next, so this looks: at one moment in three days, and
where two differ, by halving. Since 1970 no zone has changed twice within six days (the closest: seven, when north-east
Brazil gave up DST in October 2000), and what is told of the future goes by the year or by Ramadan. A year of a zone is
looked at once (about 0.3 ms) and kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

_STEP_S = 3 * 86_400


@dataclass(frozen=True, slots=True)
class Change:
    """At the moment `at` (UTC) the offset goes from `before` to `after`.

    Clocks that came near `closing` (exclusive) show `opening` instead, both local times without a zone. Forward, what
    lies between them is skipped; back, it happens twice.
    """

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_forward(self) -> bool:
        return self.after > self.before

    @property
    def closing(self) -> datetime:
        return (self.at + self.before).replace(tzinfo=None)

    @property
    def opening(self) -> datetime:
        return (self.at + self.after).replace(tzinfo=None)


def changes(zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[Change]:
    """Yield the changes of a zone later than `after` and not later than `until` (UTC), in order."""
    for year in range(after.year, until.year + 1):
        for change in changes_in(zone, year):
            if after < change.at <= until:
                yield change


@lru_cache(maxsize=4_096)
def changes_in(zone: ZoneInfo, year: int) -> tuple[Change, ...]:
    """Return the changes of a zone in a year (of UTC, 1970 to 9998)."""
    start, end = (int(datetime(at, 1, 1, tzinfo=UTC).timestamp()) for at in (year, year + 1))
    found = []
    low, before = start - 1, _offset(zone, start - 1)
    for high in (*range(start + _STEP_S, end, _STEP_S), end - 1):
        after = _offset(zone, high)
        if after != before:
            found.append(Change(datetime.fromtimestamp(_first(zone, low, high, before), UTC), before, after))
        low, before = high, after
    return tuple(found)


def _first(zone: ZoneInfo, low: int, high: int, before: timedelta) -> int:
    """Return the first second that has another offset than `before`, which `low` has and `high` has not."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, second: int) -> timedelta:
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    assert offset is not None  # a zone always knows
    return offset
