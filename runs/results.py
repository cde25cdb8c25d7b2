"""A run's outputs, in input order: a page from anywhere, or all of them as a stream that holds little in memory.

Result chunks of one batch may overlap, because inputs end out of order; chunks of different batches never do. So
chunks are read in clusters: those that overlap, with small neighbours, each as soon as the reading gets there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models.functions import Length
from pydantic_core import from_json, to_json

from actions import registry
from runs.chunks import unpack_json, unpack_lines
from runs.models import ResultChunk, Run

WIDEST_BATCH = 1_000
WINDOW = 200
READ_TOGETHER, READ_TOGETHER_BYTES = 100, 64 * 1024  # small chunks are read at once, up to that many outputs
MAX_PAGE_BYTES = 16 * 1024 * 1024
# Spreadsheets in East Asian locales read the full-width signs alike.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Output(NamedTuple):
    """One output: of which input it is, its place among that input's outputs, and its JSON."""

    input_index: int
    position: int
    line: bytes


class Place(NamedTuple):
    """Where a page starts: at an output of an input, which is the `offset`th of the run."""

    input_index: int = 0
    position: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class OutputPage:
    outputs: list[Output]
    start: int  # the offset of the first
    next: Place | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What is known of a result chunk without reading its outputs."""

    pk: int
    first_index: int
    last_index: int
    output_count: int
    packed_bytes: int


def page(run: Run, *, limit: int, start: Place | None = None, offset: int = 0) -> OutputPage:
    """Return up to `limit` outputs from `start`, or from the `offset`th. A page of large outputs may end sooner."""
    if start is None:
        outputs, first = _from_offset(run, offset), offset
    else:
        outputs, first = _from_place(run, start), start.offset
    taken: list[Output] = []
    size = 0
    for one in outputs:
        if len(taken) == limit or (taken and size + len(one.line) > MAX_PAGE_BYTES):
            return OutputPage(taken, first, Place(one.input_index, one.position, first + len(taken)))
        taken.append(one)
        size += len(one.line)
    return OutputPage(taken, first, None)


def place_at(run: Run, offset: int) -> Place:
    """Return the place of the `offset`th output, which must be there."""
    found = next(iter(_from_offset(run, offset)))
    return Place(found.input_index, found.position, offset)


def stream(run: Run) -> Iterator[Output]:
    """Yield all outputs there are now."""
    return _from_place(run, Place())


def _from_place(run: Run, place: Place) -> Iterator[Output]:
    for cluster in _clusters(_stretches(run, from_index=place.input_index)):
        for one in _read(cluster):
            if (one.input_index, one.position) >= (place.input_index, place.position):
                yield one


def _from_offset(run: Run, offset: int) -> Iterator[Output]:
    to_skip = offset
    for cluster in _clusters(_stretches(run)):
        held = sum(stretch.output_count for stretch in cluster)
        if to_skip >= held:
            to_skip -= held
            continue
        for one in _read(cluster):
            if to_skip:
                to_skip -= 1
            else:
                yield one


def _stretches(run: Run, from_index: int = 0) -> Iterator[_Stretch]:
    """Yield the run's chunks that hold outputs of inputs from `from_index` on, in order of their first input."""
    chunks = ResultChunk.objects.filter(run=run, output_count__gt=0, last_index__gte=from_index)
    chunks = chunks.order_by("first_index", "pk")
    after = (from_index - WIDEST_BATCH, 0)
    while True:
        window = chunks.filter(first_index__gte=after[0]).exclude(first_index=after[0], pk__lte=after[1])[:WINDOW]
        rows = window.values_list("pk", "first_index", "last_index", "output_count", Length("outputs"))
        found = [_Stretch(*row) for row in rows]
        yield from found
        if len(found) < WINDOW:
            return
        after = (found[-1].first_index, found[-1].pk)


def _clusters(stretches: Iterable[_Stretch]) -> Iterator[list[_Stretch]]:
    cluster: list[_Stretch] = []
    last_index, held, size = -1, 0, 0
    for stretch in stretches:
        is_full = held >= READ_TOGETHER or size >= READ_TOGETHER_BYTES
        if is_full and stretch.first_index > last_index:
            yield cluster
            cluster, held, size = [], 0, 0
        cluster.append(stretch)
        last_index = max(last_index, stretch.last_index)
        held += stretch.output_count
        size += stretch.packed_bytes
    if cluster:
        yield cluster


def _read(cluster: list[_Stretch]) -> Iterable[Output]:
    chunks = ResultChunk.objects.filter(pk__in=[stretch.pk for stretch in cluster]).only("summary", "outputs")
    outputs = [output for chunk in chunks for output in _outputs(chunk)]
    return outputs if len(cluster) == 1 else sorted(outputs)


def _outputs(chunk: ResultChunk) -> Iterator[Output]:
    summary = unpack_json(chunk.summary)
    lines = iter(unpack_lines(chunk.outputs or b""))
    for index, count in zip(summary["index"], summary["outputs"], strict=True):
        for position in range(count):
            yield Output(index, position, next(lines))


def as_json_array(outputs: Iterable[Output]) -> bytes:
    """Return outputs as the bytes of a JSON array, without parsing them."""
    return b"[" + b",".join(one.line for one in outputs) + b"]"


def as_ndjson(outputs: Iterable[Output]) -> Iterator[bytes]:
    """Yield outputs as newline-delimited JSON, in pieces of some kilobytes."""
    return _in_pieces(one.line + b"\n" for one in outputs)


def as_csv(outputs: Iterable[Output], action_name: str) -> Iterator[bytes]:
    """Yield outputs as CSV (RFC 4180): `input_index`, then the output schema's properties, or `output`.

    Text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    columns = _columns(action_name)
    return _in_pieces(_csv_lines(outputs, columns))


def _columns(action_name: str) -> list[str] | None:
    """Return the top-level properties of the action's output, or None where it has no such schema."""
    definition = registry.get(action_name)
    schema = dict(definition.output_schema) if definition else {}
    reference = schema.get("$ref", "")
    if reference.startswith("#/$defs/"):
        schema = schema["$defs"][reference.removeprefix("#/$defs/")]
    return list(schema.get("properties", ())) or None


def _csv_lines(outputs: Iterable[Output], columns: list[str] | None) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)

    def line(cells: list[Any]) -> bytes:
        writer.writerow(cells)
        written = text.getvalue().encode()
        text.seek(0)
        text.truncate()
        return written

    yield line(["input_index", *(_cell(name) for name in columns or ["output"])])
    for one in outputs:
        value = from_json(one.line)
        if columns is None or not isinstance(value, dict):
            cells = [_cell(value), *([""] * (len(columns or [""]) - 1))]
        else:
            cells = [_cell(value.get(name)) for name in columns]
        yield line([one.input_index, *cells])


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{value}" if value.startswith(FORMULA_STARTS) else value
        case int() | float():
            return value
    return to_json(value).decode()


def _in_pieces(lines: Iterable[bytes], size: int = 64 * 1024) -> Iterator[bytes]:
    piece: list[bytes] = []
    held = 0
    for line in lines:
        piece.append(line)
        held += len(line)
        if held >= size:
            yield b"".join(piece)
            piece, held = [], 0
    if piece:
        yield b"".join(piece)
