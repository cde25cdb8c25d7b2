"""What a JSON Schema asks for, as fields that a person fills in, and the texts that they write there as JSON.

Texts, numbers, booleans, choices and lists of these are fields, and so are those of an object in an object. All else
is written as JSON. What a value must be beyond its kind is checked by the action's type, which knows more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic_core import to_json

from rest import json
from rest.errors import BadInput
from rest.json_limits import MAX_INTEGER, MIN_INTEGER

DEEPEST = 3  # objects in one another that are shown as fields
MOST = 40  # fields of one form
SHORT = 255  # characters of a text that needs one line only
_REFERENCES = 8
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}\Z")
NOTHING: Final = object()
"""What a field that was left empty stands for: it is not there."""


class Kind(StrEnum):
    """How a value is written."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    LINES = "lines"  # an array of texts or numbers, one a line
    JSON = "json"


_SCALARS = {"string": Kind.TEXT, "integer": Kind.INTEGER, "number": Kind.NUMBER, "boolean": Kind.BOOLEAN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value of an object: where it belongs (`path`, of keys), and how it is written."""

    path: tuple[str, ...]
    kind: Kind
    is_required: bool = False
    description: str = ""
    default: Any = NOTHING
    example: Any = NOTHING
    choices: tuple[Any, ...] = ()
    item: Kind = Kind.TEXT
    is_short: bool = False
    minimum: float | None = None
    maximum: float | None = None


def fields_of(schema: Mapping[str, Any]) -> list[Field] | None:
    """Return the fields of the objects that a schema takes; None where they are better written as JSON."""
    root = _resolved(schema, schema)
    is_closed = root.get("additionalProperties") is False
    if root.get("type") != "object" or not (root.get("properties") or is_closed):
        return None
    fields = list(_fields(root, schema, (), is_required=True))
    return fields if len(fields) <= MOST else None


def _fields(
    schema: Mapping[str, Any], root: Mapping[str, Any], path: tuple[str, ...], *, is_required: bool
) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, property_ in schema.get("properties", {}).items():
        place, needed = (*path, name), is_required and name in required
        found = _resolved(property_, root)
        if found.get("type") == "object" and found.get("properties") and len(place) < DEEPEST:
            yield from _fields(found, root, place, is_required=needed)
        else:
            yield _field(found, root, place, is_required=needed)


def _field(schema: Mapping[str, Any], root: Mapping[str, Any], path: tuple[str, ...], *, is_required: bool) -> Field:
    kind, choices, item = _kind(schema, root)
    examples = schema.get("examples") or [NOTHING]
    return Field(
        path=path,
        kind=kind,
        is_required=is_required,
        description=str(schema.get("description", "")),
        default=schema.get("default", NOTHING),
        example=examples[0] if isinstance(examples, list) else NOTHING,
        choices=choices,
        item=item,
        is_short=any(name in schema for name in ("format", "pattern")) or schema.get("maxLength", SHORT + 1) <= SHORT,
        minimum=schema.get("minimum", schema.get("exclusiveMinimum")),
        maximum=schema.get("maximum", schema.get("exclusiveMaximum")),
    )


def _kind(schema: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[Kind, tuple[Any, ...], Kind]:
    choices = (schema["const"],) if "const" in schema else tuple(schema.get("enum", ()))
    if choices:
        return Kind.CHOICE, choices, Kind.TEXT
    type_ = schema.get("type")
    if isinstance(type_, str) and type_ in _SCALARS:
        return _SCALARS[type_], (), Kind.TEXT
    if type_ == "array" and "prefixItems" not in schema and isinstance(schema.get("items"), Mapping):
        item, _, _ = _kind(_resolved(schema["items"], root), root)
        if item in (Kind.TEXT, Kind.INTEGER, Kind.NUMBER):
            return Kind.LINES, (), item
    return Kind.JSON, (), Kind.TEXT


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema with what it refers to in its place; of one that also takes null, the other one it takes."""
    for _ in range(_REFERENCES):
        if not isinstance(schema, Mapping):
            return {}
        if isinstance(schema.get("$ref"), str):
            referred = root.get("$defs", {}).get(schema["$ref"].removeprefix("#/$defs/"), {})
        elif len(others := _others(schema)) == 1:
            (referred,) = others
        else:
            break
        schema = {**referred, **{key: value for key, value in schema.items() if key not in _REFERRING}}
    return schema


_REFERRING = ("$ref", "anyOf", "oneOf", "allOf")


def _others(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas of which it must be one, or all, null apart."""
    found = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or []
    return [one for one in found if isinstance(one, Mapping) and one.get("type") != "null"]


# --- From texts


def read(field: Field, text: str) -> Any:
    """Return what a text in a field stands for; `NOTHING` where it is empty.

    Raises:
        ValueError: it is not of the field's kind; the message says what is.
    """
    if field.kind == Kind.LINES:
        return [_scalar(field.item, line) for line in text.splitlines() if line.strip()] or NOTHING
    if field.kind == Kind.TEXT:
        return text.replace("\r\n", "\n").removesuffix("\n") or NOTHING
    text = text.strip()
    if not text:
        return NOTHING
    if field.kind == Kind.CHOICE:
        return _choice(field, text)
    if field.kind == Kind.JSON:
        return read_json(text)
    return _scalar(field.kind, text)


def read_json(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError for another."""
    try:
        return json.parse(text.encode(errors="surrogateescape"))
    except BadInput as error:
        raise ValueError(error.message.replace("The body", "This")) from None


def _scalar(kind: Kind, text: str) -> Any:
    if kind == Kind.TEXT:
        return text
    text = text.strip()
    if kind == Kind.BOOLEAN:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ValueError("must be true or false")
    if _WHOLE.match(text):
        whole = int(text)
        if MIN_INTEGER <= whole <= MAX_INTEGER:
            return whole
        raise ValueError("does not fit in 64 bits")
    if kind == Kind.INTEGER:
        raise ValueError("must be a whole number")
    try:
        number = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if not math.isfinite(number):
        raise ValueError("must be a number")
    return number


def choice_text(value: Any) -> str:
    """Return a choice as it is written: texts as they are, all else as JSON."""
    return value if isinstance(value, str) else to_json(value).decode()


def _choice(field: Field, text: str) -> Any:
    for one in field.choices:
        if choice_text(one) == text:
            return one
    raise ValueError(f"must be one of {', '.join(map(choice_text, field.choices))}"[:200])


def together(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return the object that values by their paths make; what is NOTHING is left out, and objects of nothing else."""
    whole: dict[str, Any] = {}
    for path, value in values.items():
        if value is NOTHING:
            continue
        inner = whole
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return whole


def skeleton(fields: Sequence[Field]) -> dict[str, Any]:
    """Return an object to begin with: what is required, by example, and what has a default."""
    return together({field.path: _first_value(field) for field in fields})


def _first_value(field: Field) -> Any:
    for value in (field.example, field.default):
        if value is not NOTHING:
            return value
    if not field.is_required:
        return NOTHING
    return field.choices[0] if field.choices else {Kind.TEXT: "", Kind.LINES: [], Kind.BOOLEAN: False}.get(field.kind)


# --- Cells of a table


def columns_of(schema: Mapping[str, Any]) -> dict[str, Field]:
    """Return how the cells of a table's columns are read, by the names of an object's values."""
    root = _resolved(schema, schema)
    properties = root.get("properties", {})
    return {
        name: _field(_resolved(one, schema), schema, (name,), is_required=False) for name, one in properties.items()
    }


def read_cell(column: Field | None, cell: str) -> Any:
    """Return a cell as its column's kind has it; the text that it is where it is no such, for the type to refuse.

    An array or an object is written as JSON. What may be a text or something else stays text.
    """
    if column is None or column.kind == Kind.TEXT:
        return cell
    try:
        if column.kind in (Kind.LINES, Kind.JSON):
            return read_json(cell) if cell.lstrip().startswith(("[", "{")) else cell
        return read(column, cell)
    except ValueError:
        return cell
