"""Outputs and other rows as CSV (RFC 4180), safe to open in a spreadsheet.

More than half of the time is Python's own `csv`, the rest values that are parsed to be cells.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json, to_json

from actions import registry
from runs.results import PIECE_BYTES, Output

# Spreadsheets in East Asian locales read the full-width signs alike.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_csv(outputs: Iterable[Output], action_name: str) -> Iterator[bytes]:
    """Yield outputs as CSV (RFC 4180): `input_index`, then the output schema's properties, or `output`.

    Text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    return csv_pieces(_csv_rows(outputs, _columns(action_name)))


def _columns(action_name: str) -> list[str] | None:
    """Return the top-level properties of the action's output, or None where it has no such schema."""
    definition = registry.get(action_name)
    schema = dict(definition.output_schema) if definition else {}
    reference = schema.get("$ref", "")
    if reference.startswith("#/$defs/"):
        schema = schema["$defs"][reference.removeprefix("#/$defs/")]
    return list(schema.get("properties", ())) or None


def _csv_rows(outputs: Iterable[Output], columns: list[str] | None) -> Iterator[list[Any]]:
    yield ["input_index", *(csv_cell(name) for name in columns or ["output"])]
    for one in outputs:
        value = from_json(one.line)
        if columns is None or not isinstance(value, dict):
            cells = [csv_cell(value), *([""] * (len(columns or [""]) - 1))]
        else:
            cells = [csv_cell(value.get(name)) for name in columns]
        yield [one.input_index, *cells]


def csv_pieces(rows: Iterable[Iterable[Any]], size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Yield rows as CSV (RFC 4180), in pieces of about `size` characters."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        writer.writerow(row)
        if text.tell() >= size:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def csv_cell(value: Any) -> Any:
    """Return a JSON value as a cell: text that a spreadsheet would run as a formula gets a leading apostrophe."""
    match value:
        case str():
            return f"'{value}" if value.startswith(FORMULA_STARTS) else value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return value
    return to_json(value).decode()
