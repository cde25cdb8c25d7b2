"""What is wrong with a value, in words a caller can act on: bounded, printable, and never echoing much of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from pydantic import ValidationError

MAX_PROBLEMS = 10
MAX_FIELD_LENGTH = 100
MAX_REASON_LENGTH = 200
# Pydantic speaks of Python's types; callers write JSON.
AN_OBJECT, AN_ARRAY = "must be a JSON object", "must be a JSON array"
WORDS = {
    "dict_type": AN_OBJECT,
    "model_type": AN_OBJECT,
    "model_attributes_type": AN_OBJECT,
    "dataclass_type": AN_OBJECT,
    "list_type": AN_ARRAY,
}
# Past this, listing what is wrong costs more than the list is worth.
MAX_LISTED_FROM = 1_000


class Problem(TypedDict):
    """One thing that is wrong: `field` is a dotted path ("" is the value itself)."""

    field: str
    reason: str


def problems_of(error: ValidationError) -> list[Problem]:
    """Return what pydantic found, the first ten of it."""
    count = error.error_count()
    if count > MAX_LISTED_FROM:
        return [Problem(field="", reason=f"{count:,} values do not fit the type {printable(error.title, 60)}")]
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [problem(_path(detail["loc"]), _reason(detail["type"], detail["msg"])) for detail in details[:MAX_PROBLEMS]]


def _reason(kind: str, message: str) -> str:
    # What a validator says is put in its own words, without the kind of its exception before them.
    return WORDS.get(kind) or message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def problem(field: str, reason: str) -> Problem:
    """Return a problem with both texts made printable and short."""
    return Problem(field=printable(field, MAX_FIELD_LENGTH), reason=printable(reason, MAX_REASON_LENGTH))


def describe(problems: Sequence[Problem]) -> str:
    """Return one sentence for people: the first problem, and how many more there are."""
    first = problems[0]
    text = f"{first['field']}: {first['reason']}" if first["field"] else first["reason"]
    more = len(problems) - 1
    return f"{text} (and {more} more)" if more else text


def printable(text: str, max_length: int) -> str:
    """Return `text` as it may stand in JSON and in PostgreSQL: no NUL, no lone surrogate, cut to `max_length`."""
    clean = text.encode("utf-8", "replace").decode().replace("\x00", "�")
    return clean if len(clean) <= max_length else clean[: max_length - 1] + "…"


def _path(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location)
