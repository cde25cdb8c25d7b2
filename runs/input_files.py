"""Inputs from a file: JSON Lines, a JSON array, or CSV with a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rest import json
from rest.errors import BadInput

SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}


def format_of(name: str, content: bytes) -> str:
    """Return "jsonl", "json" or "csv": by the file's name, or by how its content begins."""
    known = SUFFIXES.get(Path(name).suffix.lower())
    if known:
        return known
    start = content.lstrip()[:1]
    return {b"[": "json", b"{": "jsonl"}.get(start, "csv")


def read_inputs(content: bytes, form: str) -> list[Any]:
    """Return the inputs that a file in the format `form` holds.

    An empty cell of a CSV is a field that is not there; every other cell is text, which the action's type reads.

    Raises:
        BadInput: the file is not what its format says; the message names the line.
    """
    readers: dict[str, Callable[[bytes], list[Any]]] = {"jsonl": _from_jsonl, "json": _from_json, "csv": _from_csv}
    return readers[form](content)


def _from_jsonl(content: bytes) -> list[Any]:
    inputs = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            try:
                inputs.append(json.parse(line))
            except BadInput as error:
                raise BadInput(f"Line {number}: {error.message}", {"line": number}) from None
    return inputs


def _from_json(content: bytes) -> list[Any]:
    value = json.parse(content)
    if isinstance(value, dict) and isinstance(value.get("inputs"), list):
        value = value["inputs"]
    if not isinstance(value, list):
        raise BadInput("The file holds no JSON array, nor an object with the array `inputs`.")
    return value


def _from_csv(content: bytes) -> list[Any]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"The CSV is not UTF-8: {error.reason} at byte {error.start}.") from None
    if "\0" in text:
        raise BadInput(f"Line {text[: text.index(chr(0))].count(chr(10)) + 1}: a text contains a NUL character.")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or []
        if not names or not all(names) or len(set(names)) < len(names):
            raise BadInput("The CSV's first line must name each column, and each once.")
        inputs = []
        for row in reader:
            if None in row:
                raise BadInput(f"Line {reader.line_num}: more cells than the header has columns.")
            inputs.append({name: cell for name, cell in row.items() if cell})
        return inputs
    except csv.Error as error:
        raise BadInput(f"Line {reader.reader.line_num}: {error}.") from None
