"""The five fields of a cron expression: what each may say, and why it may not say something else.

A field is a list of `*`, a value or a range, the first and last of these with a step: `*/5`, `1-5`, `0,30`, `8-18/2`.
Months and days of the week may be named by three letters in any case, in ranges too; Sunday is 0 and 7.

Stricter than crons are, where they differ from each other or do something that nobody means:
- A step after a single value (`5/15`) is refused: some crons read it as `5-59/15`, others as `5`.
- A step larger than the field has values (`*/90` minutes) is refused: it would be the field's first value alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class BadCron(ValueError):
    """The cron expression is refused. The message says which field and what is allowed, or what else is wrong.

    `field` is one of the five names below, or "" where it is the whole; `allowed` says what that field takes, or "".
    """

    def __init__(self, message: str, field: str = "", allowed: str = "") -> None:
        self.field = field
        self.allowed = allowed
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five: its name, its lowest and highest value, and names for the values from the lowest on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many different values there are."""
        return len(self.names) or self.high - self.low + 1

    @property
    def allowed(self) -> str:
        values = f"{self.low}-{self.high}"
        if self.names:
            values += f" or {self.names[0]}-{self.names[-1]}"
        return f"{values}, *, ranges (a-b), steps (*/n, a-b/n) and lists of these (a,b)"


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY_OF_MONTH = Field("day-of-month", 1, 31)
MONTH = Field("month", 1, 12, _MONTHS)
DAY_OF_WEEK = Field("day-of-week", 0, 7, _DAYS)
FIELDS = (MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)

_TERM = re.compile(r"(?:\*|(?P<first>[0-9A-Za-z]+)(?:-(?P<last>[0-9A-Za-z]+))?)(?:/(?P<step>[0-9]+))?")
_LAST_OR_NEAREST = re.compile(r"(?:L|W|LW|[0-9]+[LW]|[A-Z]{3}L)(?:-[0-9]+)?")


def check(field: Field, text: str) -> str:
    """Return a field's text in numbers, with the same meaning and the same `*` at its beginning.

    Raises:
        BadCron: it says something that the field does not take.
    """
    return ",".join(_check_term(field, term, text) for term in text.split(","))


def _check_term(field: Field, term: str, text: str) -> str:
    if not term:
        raise _refusal(field, text, "has an empty place in its list")
    matched = _TERM.fullmatch(term)
    if not matched:
        raise _unreadable(field, text, term)
    step = f"/{_step(field, text, matched['step'])}" if matched["step"] else ""
    if matched["first"] is None:
        return f"*{step}"
    first = _value(field, text, matched["first"])
    if matched["last"] is None:
        if step:
            high = max(first, field.low + field.size - 1)
            why = (
                f"has a step after a single value, which crons read differently: write {first}-{high}{step} or {first}"
            )
            raise _refusal(field, text, why)
        return str(first)
    last = _value(field, text, matched["last"])
    if last < first:
        raise _refusal(field, text, f"has a range that runs backwards: write {_turned(field, first, last)}")
    return str(first) if first == last else f"{first}-{last}{step}"


def _step(field: Field, text: str, step: str) -> int:
    if not 1 <= int(step) <= field.size:
        raise _refusal(field, text, f"has a step that is not from 1 to {field.size}")
    return int(step)


def _value(field: Field, text: str, value: str) -> int:
    if value.isdigit():
        if not field.low <= int(value) <= field.high:
            raise _refusal(field, text, f"has a value that is not from {field.low} to {field.high}")
        return int(value)
    if value.upper() not in field.names:
        raise _unreadable(field, text, value)
    return field.low + field.names.index(value.upper())


def _turned(field: Field, first: int, last: int) -> str:
    """Return how to say a range that goes on behind the field's highest value."""
    if field is DAY_OF_WEEK and last == 0:
        return f"{first}-7, where 7 is Sunday"
    high = field.low + field.size - 1
    return f"{first}-{high},{field.low}-{last}" if first <= high else f"{field.low}-{last}"


def _unreadable(field: Field, text: str, part: str) -> BadCron:
    if "?" in part:
        return _refusal(field, text, "has a ?, which is not cron's: write *")
    if "#" in part or _LAST_OR_NEAREST.fullmatch(part.upper()):
        return _refusal(
            field, text, "has an L, W or # (last, nearest weekday, nth), which are not among cron's five fields"
        )
    if part[:3].upper() in field.names and part.isalpha():
        return _refusal(field, text, f"has a long name: write {part[:3].upper()}")
    return _refusal(field, text, f"cannot be read at {part[:20]!r}")


def _refusal(field: Field, text: str, why: str) -> BadCron:
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    return BadCron(f"The {field.name} field {shown!r} {why}. Allowed: {field.allowed}.", field.name, field.allowed)
