"""Inputs from a file: JSON Lines, a JSON array, or CSV with a header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from pydantic_core import from_json

from rest import json
from rest.errors import BadInput
from runs.inputs import CUSTOM_DATA
from runs.launch_checks import check_count
from runs.schema_fields import Field, Kind, columns_of, read_cell

MAX_COLUMNS = 1_000
_BREAK = re.compile(r"\r\n|\r|\n")
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}


def format_of(name: str, content: bytes) -> str:
    """Return "jsonl", "json" or "csv": by the file's name, or by how its content begins."""
    known = SUFFIXES.get(Path(name).suffix.lower())
    if known:
        return known
    start = content.lstrip()[:1]
    return {b"[": "json", b"{": "jsonl"}.get(start, "csv")


@dataclass(frozen=True, slots=True)
class Rows:
    """The inputs of a file, and the line that each begins at; None where the file does not go by lines."""

    inputs: list[Any]
    lines: list[int] | None = None


def read_inputs(content: bytes, form: str, schema: Mapping[str, Any] | None = None) -> list[Any]:
    """Return the inputs that a file in the format `form` holds.

    Raises: what `read_rows` does.
    """
    return read_rows(content, form, schema).inputs


def read_rows(content: bytes, form: str, schema: Mapping[str, Any] | None = None) -> Rows:
    """Return the inputs that a file in the format `form` holds, with the lines that they stand in.

    An empty cell of a CSV is a field that is not there. The others are read by `schema`, the action's JSON Schema of
    an input, and `custom_data` as JSON; what is not as its column should be stays text, which the action's type reads
    or refuses.

    Raises:
        BadInput: the file is not what its format says, and the message names the line; or it holds more inputs than a
            run takes, or more values than a body may.
    """
    if form == "csv":
        return _from_csv(content, {**columns_of(schema or {}), CUSTOM_DATA: Field(path=(CUSTOM_DATA,), kind=Kind.JSON)})
    return _from_jsonl(content) if form == "jsonl" else Rows(_from_json(content))


def _from_jsonl(content: bytes) -> Rows:
    check_count(sum(1 for line in io.BytesIO(content) if line.strip()), at_least=0)
    lines: list[bytes] = []
    numbers: list[int] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if stripped := line.strip():
            lines.append(stripped)
            numbers.append(number)
    return Rows(_values(lines, numbers), numbers)


def _values(lines: list[bytes], numbers: list[int]) -> list[Any]:
    """Return the value of each line. Together, which is seven times as fast; one by one where a line is refused."""
    try:
        for line in lines:
            from_json(line, allow_inf_nan=False)  # two halves of a value, each in its line, are none
        values: list[Any] = _parse(b"[" + b",".join(lines) + b"]")
        return values
    except BadInput as error:
        if "limit" in error.params:  # of all values in the file, or of all arrays and objects
            raise
    except ValueError:
        pass
    inputs = []
    for number, line in zip(numbers, lines, strict=True):
        try:
            inputs.append(_parse(line))
        except BadInput as error:
            raise BadInput(f"Line {number}: {error.message}", {"line": number}) from None
    return inputs


def _parse(text: bytes) -> Any:
    return json.parse(text, max_nodes=settings.RUNYARD_MAX_BODY_NODES)


def _from_json(content: bytes) -> list[Any]:
    value = _parse(content)
    if isinstance(value, dict) and isinstance(value.get("inputs"), list):
        value = value["inputs"]
    if not isinstance(value, list):
        raise BadInput("The file holds no JSON array, nor an object with the array `inputs`.")
    return value


def _from_csv(content: bytes, columns: Mapping[str, Field]) -> Rows:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"The CSV is not UTF-8: {error.reason} at byte {error.start}.") from None
    if "\0" in text:
        raise BadInput(f"Line {text[: text.index(chr(0))].count(chr(10)) + 1}: a text contains a NUL character.")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        return _rows(reader, columns)
    except csv.Error as error:
        raise BadInput(f"Line {reader.reader.line_num}: {error}.") from None


def _rows(reader: csv.DictReader[str], columns: Mapping[str, Field]) -> Rows:
    names = reader.fieldnames or []
    if not names or not all(names) or len(set(names)) < len(names):
        raise BadInput("The CSV's first line must name each column, and each once.")
    if len(names) > MAX_COLUMNS:
        raise BadInput(f"The CSV has {len(names):,} columns, more than the {MAX_COLUMNS:,} allowed.")
    inputs: list[Any] = []
    lines: list[int] = []
    kept_up_to = min(settings.RUNYARD_MAX_INPUTS, json.MAX_VALUES // len(names))
    count = 0
    for count, row in enumerate(reader, start=1):
        if None in row:
            raise BadInput(f"Line {reader.line_num}: more cells than the header has columns.")
        if count <= kept_up_to:
            inputs.append({name: read_cell(columns.get(name), cell) for name, cell in row.items() if cell})
            lines.append(reader.line_num - sum(len(_BREAK.findall(cell)) for cell in row.values() if cell))
    check_count(count, at_least=0)
    if count > kept_up_to:
        raise BadInput(
            f"The CSV holds more than the {json.MAX_VALUES:,} values allowed. Send fewer inputs at once.",
            {"limit": json.MAX_VALUES},
        )
    return Rows(inputs, lines)
