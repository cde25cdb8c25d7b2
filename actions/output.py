"""An action's output as JSON bytes, or the reason why it is none (contract section 7).

Almost every output is fine, so it is serialised first and then looked through for the few byte patterns that may
mean trouble; only an output that shows one is taken apart.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json, to_jsonable_python

from actions.problems import describe, printable, problems_of
from rest.errors import BadOutput
from rest.json_limits import DIGITS_AS_ZERO, LONG_NUMBER, MAX_DEPTH, MAX_INTEGER, MIN_INTEGER

MAX_REASON_LENGTH = 300

# Kinds of pydantic's core schemas; one that is not named here only costs a second look.
KINDS_WITHOUT_NAN = frozenset(
    {"model", "model-fields", "model-field", "dataclass", "dataclass-args", "dataclass-field", "typed-dict"}
    | {"typed-dict-field", "str", "int", "bool", "none", "date", "time", "datetime", "uuid", "url", "literal"}
    | {"list", "set", "frozenset", "tuple", "dict", "nullable", "union", "tagged-union", "default"}
    | {"definitions", "definition-ref"}
)
NUMBERS_OR_NESTING = frozenset({"int", "literal", "definitions", "definition-ref"})
NUL = b"\\u0000"
Mode = Literal["json", "python"]


@dataclass(frozen=True, slots=True)
class OutputType:
    """The type of one result. `adapter` is None where it may be any JSON.

    Pydantic writes NaN as null in the typed parts of a result. `nan_shows_in` is the mode of `dump_python` that keeps
    it, None for types that have no place for NaN. `is_flat_text` says that a type has no place for a number either, and
    can nest no deeper than it is written: of what may be wrong with a result that leaves NUL characters.
    """

    adapter: TypeAdapter[Any] | None
    nan_shows_in: Mode | None
    is_flat_text: bool

    @classmethod
    def of(cls, adapter: TypeAdapter[Any] | None) -> OutputType:
        if adapter is None:
            return cls(None, "json", is_flat_text=False)
        nan_shows_in = _nan_shows_in(adapter.core_schema)
        return cls(adapter, nan_shows_in, nan_shows_in is None and _is_flat_text(adapter.core_schema))

    def dump(self, value: Any, *, max_bytes: int) -> bytes:
        """Return one result as compact JSON.

        Raises:
            BadOutput: it is not JSON, does not fit its type, or is over `max_bytes`; the message says where and why.
        """
        line = _dump_any(value) if self.adapter is None else _dump_typed(value, self.adapter)
        if len(line) > max_bytes:
            raise BadOutput(
                f"A result is {len(line):,} bytes of JSON; the limit is {max_bytes:,}.",
                {"bytes": len(line), "max_bytes": max_bytes},
            )
        if NUL in line if self.is_flat_text else _looks_wrong(line):
            _refuse(_parsed(line))
        if self.nan_shows_in and b"null" in line:
            self._check_nulls(value, self.nan_shows_in)
        return line

    def _check_nulls(self, value: Any, mode: Mode) -> None:
        if self.adapter is None:
            shown = to_jsonable_python(value, by_alias=True, inf_nan_mode="constants")
        else:
            shown = self.adapter.dump_python(
                self.adapter.validate_python(value), mode=mode, by_alias=True, warnings="none"
            )
        line = to_json(shown, by_alias=True, inf_nan_mode="constants", serialize_unknown=True)
        if b"NaN" in line or b"Infinity" in line:
            _refuse(_parsed(line))


ANY_JSON = OutputType.of(None)


def _nan_shows_in(schema: Any) -> Mode | None:
    """Return where NaN shows in values of a pydantic core schema."""
    parts = [*_parts_of_schema(schema)]
    # Only in JSON mode is it sure that the author's own serialisers run, which may well turn NaN into null.
    if any("serialization" in part or part.get("computed_fields") for part in parts):
        return "json"
    closed = all(part["type"] in KINDS_WITHOUT_NAN and "allow" not in _extra(part) for part in parts)
    return None if closed else "python"


def _is_flat_text(schema: Any) -> bool:
    return NUMBERS_OR_NESTING.isdisjoint(part["type"] for part in _parts_of_schema(schema))


def _parts_of_schema(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield `schema` and all schemas in it."""
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from _parts_of_schema(part)
    elif isinstance(schema, dict):
        # What has no kind are the fields of a model, by name.
        is_schema = isinstance(schema.get("type"), str)
        if is_schema:
            yield schema
        for name, part in schema.items():
            if not (is_schema and name in ("metadata", "default", "config")):
                yield from _parts_of_schema(part)


def _extra(schema: dict[str, Any]) -> tuple[Any, Any]:
    return schema.get("extra_behavior"), (schema.get("config") or {}).get("extra_fields_behavior")


def _dump_any(value: Any) -> bytes:
    if isinstance(value, Iterator):
        raise BadOutput(
            "The action returned an iterator, which is no single result: give it the return type Iterator[...]."
        )
    try:
        return to_json(value, by_alias=True, inf_nan_mode="constants")
    except Exception as error:
        raise _not_json(error) from error


def _dump_typed(value: Any, adapter: TypeAdapter[Any]) -> bytes:
    try:
        if not warnings.filters or warnings.filters[0] is not _FIRST_FILTER:
            _put_filter_first()
        # Validating lets a plain dict stand for a model, and finds fields that are missing; of a model it is free.
        return adapter.serializer.to_json(adapter.validator.validate_python(value), by_alias=True)
    except ValidationError as error:
        problems = problems_of(error)
        raise BadOutput(
            f"The result does not fit the return type: {describe(problems)}", {"problems": problems}
        ) from error
    except Exception as error:
        raise _not_json(error) from error


# What a model's fields hold that their types do not allow, pydantic only warns of. To ask it for an error costs 4 us of
# each result, more than all the rest, so here the warning is one: for this module, before whatever others filter.
_AS_ERROR: dict[str, Any] = {
    "action": "error", "message": "Pydantic serializer warnings", "module": re.escape(__name__),
}  # fmt: skip
warnings.filterwarnings(**_AS_ERROR)
_FIRST_FILTER = warnings.filters[0]


def _put_filter_first() -> None:
    global _FIRST_FILTER
    warnings.filterwarnings(**_AS_ERROR)
    _FIRST_FILTER = warnings.filters[0]


def _not_json(error: Exception) -> BadOutput:
    reason = printable(str(error) or type(error).__name__, MAX_REASON_LENGTH)
    return BadOutput(f"The result is not JSON: {reason}", {"reason": reason})


def _looks_wrong(line: bytes) -> bool:
    return (
        NUL in line
        or b"NaN" in line
        or b"Infinity" in line
        or line.count(b"[") + line.count(b"{") > MAX_DEPTH
        or LONG_NUMBER in line.translate(DIGITS_AS_ZERO)
    )


def _parsed(line: bytes) -> Any:
    try:
        return from_json(line, allow_inf_nan=True)
    except ValueError as error:
        raise _not_json(error) from error


def _refuse(value: Any) -> None:
    """Raise for the first part of `value` that JSON, or the contract's section 0, does not allow."""
    open_parts: list[tuple[Any, str, int]] = [(value, "", 1)]
    while open_parts:
        part, path, depth = open_parts.pop()
        reason = _reason_against(part)
        if reason:
            raise BadOutput(f"The result is not JSON: {reason} at {path or 'the top'}.", {"field": path})
        if isinstance(part, dict | list):
            if depth > MAX_DEPTH:
                raise BadOutput(f"The result is nested deeper than {MAX_DEPTH}.", {"max_depth": MAX_DEPTH})
            open_parts.extend(_parts(part, path, depth + 1))


def _parts(part: dict[str, Any] | list[Any], path: str, depth: int) -> Iterator[tuple[Any, str, int]]:
    if isinstance(part, list):
        for index, item in enumerate(part):
            yield item, f"{path}[{index}]", depth
        return
    for key, item in part.items():
        name = printable(f"{path}.{key}" if path else str(key), 100)
        if _reason_against(key):
            yield key, name, depth
        yield item, name, depth


def _reason_against(part: Any) -> str:
    if isinstance(part, str):
        return "a NUL character" if "\x00" in part else ""
    if isinstance(part, float):
        return "" if math.isfinite(part) else f"the number {part}"
    if isinstance(part, int) and not MIN_INTEGER <= part <= MAX_INTEGER:
        return "an integer beyond 64 bits"
    return ""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """How much one input may give. `max_results` is how much its caller wants (None: all); the others are refusals."""

    max_items: int
    max_bytes_each: int
    max_bytes_total: int
    max_results: int | None = None


@dataclass(slots=True)
class _Collected:
    """The results of one input so far, held to their limits."""

    output: OutputType
    limits: OutputLimits
    lines: list[bytes] = field(default_factory=list)
    bytes_total: int = 0

    def add(self, value: Any) -> bool:
        """Add a result, and return whether the caller wants more."""
        limits = self.limits
        if len(self.lines) >= limits.max_items:
            raise BadOutput(f"One input gave more than {limits.max_items:,} results.", {"max_items": limits.max_items})
        line = self.output.dump(value, max_bytes=limits.max_bytes_each)
        self.bytes_total += len(line)
        if self.bytes_total > limits.max_bytes_total:
            raise BadOutput(
                f"The results of one input are over {limits.max_bytes_total:,} bytes of JSON.",
                {"max_bytes": limits.max_bytes_total},
            )
        self.lines.append(line)
        return limits.max_results is None or len(self.lines) < limits.max_results


def dump_many(values: Any, output: OutputType, limits: OutputLimits) -> list[bytes]:
    """Return the results of a `many` action, one JSON value each, taking no more of `values` than is asked for.

    What the action raises while it yields is passed on; a generator is closed in any case.

    Raises:
        BadOutput: `values` cannot be iterated over, holds too much, or one of its items is not JSON.
    """
    collected = _Collected(output, limits)
    try:
        for value in _iterable(values):
            if not collected.add(value):
                break
    finally:
        if isinstance(values, Generator):
            values.close()
    return collected.lines


async def dump_many_async(values: Any, output: OutputType, limits: OutputLimits) -> list[bytes]:
    """As `dump_many`, for what an `async def` returns: an async iterator, or an awaitable of an iterable."""
    if isinstance(values, Awaitable):
        values = await values
    if not isinstance(values, AsyncIterable):
        return dump_many(values, output, limits)
    collected = _Collected(output, limits)
    try:
        async for value in values:
            if not collected.add(value):
                break
    finally:
        if isinstance(values, AsyncGenerator):
            await values.aclose()
    return collected.lines


def _iterable(values: Any) -> Iterable[Any]:
    # A text or an object can be iterated over too, but never to give the results that were meant.
    if isinstance(values, str | bytes | bytearray | Mapping | BaseModel) or not isinstance(values, Iterable):
        raise BadOutput(
            f"The action should give several results, but returned one {type(values).__name__}:"
            " return a list, or yield each result."
        )
    return values
