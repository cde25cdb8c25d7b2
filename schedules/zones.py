"""Time zones, by the names that the IANA database gives them.

A name is taken as the database has it, links such as `US/Pacific` included: no other case, no path, no offset. Three
files that stand beside the zones are none: `localtime` and `posixrules` mean whatever the machine is set to, and
`Factory` that nobody has set anything. Names come from the system's database and, for what that lacks, from the package
`tzdata`, as `zoneinfo` has it.

A process reads the list of names once, and each zone once (43 ms and about 0.1 ms). After an update of the database
under a running process, `forget` has it read anew.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

MAX_LENGTH = 64
"""In characters. The longest name there is has 32."""

_NO_ZONES = frozenset({"localtime", "posixrules", "Factory"})
_OFFSET = re.compile(r"(?:UTC|GMT|Z)?([+-])([01]?[0-9])(?::?00)?", re.IGNORECASE)
_LARGEST_OFFSET_H = {"+": 14, "-": 12}


class UnknownZone(ValueError):
    """The database has no time zone of this name: it never had, or an update took it away.

    The message says why in a sentence; `name` is what was asked for, `suggestion` a name that may be meant, or "".
    """

    def __init__(self, name: str, why: str, suggestion: str = "") -> None:
        self.name = name
        self.suggestion = suggestion
        super().__init__(f"{why} Did you mean {suggestion}?" if suggestion else why)


@cache
def names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset(available_timezones() - _NO_ZONES)


@lru_cache(maxsize=1_024)
def find(name: str) -> ZoneInfo:
    """Return the zone of this name; of one name, the same object each time.

    Raises:
        UnknownZone: there is none, or none any more.
    """
    if name not in names():
        raise _refusal(name)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # The list is from this process's start. What it names may have gone since, or be half-written.
        raise UnknownZone(name, f"The time zone {name} has gone from this machine's time zone database.") from None


def forget() -> None:
    """Have names and zones read anew, after an update of the database."""
    names.cache_clear()
    _by_folded_name.cache_clear()
    find.cache_clear()
    ZoneInfo.clear_cache()


@cache
def _by_folded_name() -> dict[str, str]:
    return {name.casefold(): name for name in names()}


def _refusal(name: str) -> UnknownZone:
    if not name:
        return UnknownZone(name, "The time zone is empty: give a name such as Europe/Paris, or UTC.")
    if len(name) > MAX_LENGTH:
        return UnknownZone(name, f"The time zone is longer than {MAX_LENGTH} characters, and no name is.")
    if right := _by_folded_name().get(re.sub(r"[\s_]+", "_", name.strip()).casefold()):
        return UnknownZone(name, f"{name!r} is not how the time zone database writes it.", right)
    if name in _NO_ZONES:
        return UnknownZone(name, f"{name!r} names no place: give a name such as Europe/Paris, or UTC.")
    if (offset := _OFFSET.fullmatch(name)) and int(offset[2]) <= _LARGEST_OFFSET_H[offset[1]]:
        # The database counts these from the zone to UTC, so that their sign is the other one.
        hours = int(offset[2])
        fixed = f"Etc/GMT{'-' if offset[1] == '+' else '+'}{hours}" if hours else "UTC"
        return UnknownZone(name, f"{name!r} is an offset, not a time zone: name a place, which knows its DST.", fixed)
    return UnknownZone(
        name, f"The time zone {name!r} is not in the time zone database: give a name such as Europe/Paris, or UTC."
    )
