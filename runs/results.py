"""A run's outputs, in input order: a page from anywhere, or all of them as a stream that holds little in memory.

Result chunks of one batch may overlap, because inputs end out of order; chunks of different batches never do. So
chunks are merged: each is unpacked once the reading gets to its first input, and dropped after its last. Where an
offset lies follows from the chunks' counts and summaries alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from itertools import dropwhile
from typing import NamedTuple

from actions.options import HIGHEST
from runs import reading
from runs.chunks import unpack_json, unpack_lines
from runs.models import ResultChunk, Run
from statements.compiled import Compiled, Parameter
from statements.cursors import binary_rows

WIDEST_BATCH = HIGHEST["batch_size"]
WINDOW = 200
# Small chunks are fetched at once, up to this many outputs and packed bytes.
OUTPUTS_FETCHED_TOGETHER, BYTES_FETCHED_TOGETHER = 100, 64 * 1024
MAX_PAGE_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 64 * 1024


class Output(NamedTuple):
    """One output: of which input it is, its place among that input's outputs, and its JSON."""

    input_index: int
    position: int
    line: bytes


class OutputPlace(NamedTuple):
    """Where a page starts: at an output of an input, which is the `offset`th of the run."""

    input_index: int = 0
    position: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class OutputPage:
    outputs: list[Output]
    start: int  # the offset of the first
    next: OutputPlace | None


@dataclass(frozen=True, slots=True)
class _ChunkOutline:
    """What is known of a result chunk without reading its outputs."""

    pk: int
    first_index: int
    last_index: int
    output_count: int
    packed_bytes: int


def page(run: Run, *, limit: int, start: OutputPlace | None = None, offset: int = 0) -> OutputPage:
    """Return up to `limit` outputs from `start`, or from the `offset`th. A page of large outputs may end sooner."""
    start = start or place_at(run, offset)
    if start is None:
        return OutputPage([], offset, None)
    taken: list[Output] = []
    size = 0
    for one in _from_place(run, start):
        if len(taken) == limit or (taken and size + len(one.line) > MAX_PAGE_BYTES):
            following = OutputPlace(one.input_index, one.position, start.offset + len(taken))
            return OutputPage(taken, start.offset, following)
        taken.append(one)
        size += len(one.line)
    return OutputPage(taken, start.offset, None)


def place_at(run: Run, offset: int) -> OutputPlace | None:
    """Return the place of the `offset`th output, or None where there are not so many."""
    if not offset:
        return OutputPlace()
    to_skip = offset
    for cluster in _clusters(_outlines(run)):
        held = sum(outline.output_count for outline in cluster)
        if to_skip >= held:
            to_skip -= held
            continue
        for input_index, count in _output_counts(cluster):
            if to_skip < count:
                return OutputPlace(input_index, to_skip, offset)
            to_skip -= max(count, 0)
    return None


def single(run: Run) -> bytes:
    """Return the output of a run of one input that succeeded, of an action that gives one, as JSON.

    Raises:
        NotFound: the run was deleted meanwhile.
    """
    chunk = _OF_RUN.first(run=run.pk)
    if chunk is None:
        raise reading.not_found(run)
    return unpack_lines(chunk.outputs or b"")[0]


_OF_RUN = Compiled(lambda: ResultChunk.objects.only("outputs").filter(run=Parameter("run")))


def stream(run: Run) -> Iterator[Output]:
    """Yield all outputs there are now. Raises `NotFound` rather than end where the run was deleted meanwhile."""
    yield from _from_place(run, OutputPlace())
    reading.require(run)


def _from_place(run: Run, place: OutputPlace) -> Iterator[Output]:
    before = lambda one: (one.input_index, one.position) < (place.input_index, place.position)  # noqa: E731
    return dropwhile(before, _merged(_outlines(run, from_index=place.input_index)))


_OUTLINES = f"""
SELECT id, first_index, last_index, output_count, length(outputs) FROM runs_resultchunk
 WHERE run_id = %s AND output_count > 0 AND last_index >= %s AND (first_index, id) > (%s, %s)
 ORDER BY first_index, id LIMIT {WINDOW}
"""


def _outlines(run: Run, from_index: int = 0) -> Iterator[_ChunkOutline]:
    """Yield the run's chunks that hold outputs of inputs from `from_index` on, in order of their first input."""
    after = (from_index - WIDEST_BATCH, 0)
    while True:
        found = [_ChunkOutline(*row) for row in binary_rows(_OUTLINES, [run.pk, from_index, *after])]
        yield from found
        if len(found) < WINDOW:
            return
        after = (found[-1].first_index, found[-1].pk)


def _clusters(outlines: Iterable[_ChunkOutline]) -> Iterator[list[_ChunkOutline]]:
    """Yield chunks that overlap with one another and with no others; small ones with their neighbours."""
    cluster: list[_ChunkOutline] = []
    last_index, held = -1, 0
    for outline in outlines:
        if held >= OUTPUTS_FETCHED_TOGETHER and outline.first_index > last_index:
            yield cluster
            cluster, held = [], 0
        cluster.append(outline)
        last_index = max(last_index, outline.last_index)
        held += outline.output_count
    if cluster:
        yield cluster


_SUMMARIES = "SELECT summary FROM runs_resultchunk WHERE id = ANY(%s::bigint[])"


def _output_counts(cluster: list[_ChunkOutline]) -> list[tuple[int, int]]:
    """Return (input index, number of outputs) of each input with a result, in order; the number is -1 of a failed."""
    summaries = [unpack_json(packed) for (packed,) in binary_rows(_SUMMARIES, [[outline.pk for outline in cluster]])]
    return sorted(pair for summary in summaries for pair in zip(summary["index"], summary["outputs"], strict=True))


_Head = tuple[Output, int, Iterator[Output], int]
"""The next output of an unpacked chunk, the chunk's key, the outputs after it, and the chunk's last input."""


_OUTPUTS = """
SELECT id, summary, outputs FROM runs_resultchunk WHERE id = ANY(%s::bigint[]) ORDER BY first_index, id
"""


def _merged(outlines: Iterable[_ChunkOutline]) -> Iterator[Output]:
    """Yield the outputs of chunks in input order, keeping unpacked only those that overlap where the reading is."""
    heads: list[_Head] = []
    for handful in _handfuls(outlines):
        yield from _taken_before(heads, handful[0].first_index)
        outlines_of = {outline.pk: outline for outline in handful}
        for pk, summary, packed in binary_rows(_OUTPUTS, [list(outlines_of)]):
            outline = outlines_of[pk]
            yield from _taken_before(heads, outline.first_index)
            outputs = _outputs(summary, packed)
            heappush(heads, (next(outputs), pk, outputs, outline.last_index))
    yield from _taken_before(heads, math.inf)


def _taken_before(heads: list[_Head], index: float) -> Iterator[Output]:
    """Take from the unpacked chunks all outputs of inputs before `index`."""
    while heads and heads[0][0].input_index < index:
        output, key, rest, last_index = heads[0]
        if len(heads) == 1 and last_index < index:  # as nearly always: it overlaps with no other
            heads.clear()
            yield output
            yield from rest
            return
        following = next(rest, None)
        if following:
            heapreplace(heads, (following, key, rest, last_index))
        else:
            heappop(heads)
        yield output


def _handfuls(outlines: Iterable[_ChunkOutline]) -> Iterator[list[_ChunkOutline]]:
    """Yield chunks that are fetched at once: a large one alone, small ones together."""
    handful: list[_ChunkOutline] = []
    held, size = 0, 0
    for outline in outlines:
        held += outline.output_count
        size += outline.packed_bytes
        if handful and (held > OUTPUTS_FETCHED_TOGETHER or size > BYTES_FETCHED_TOGETHER):
            yield handful
            handful, held, size = [], outline.output_count, outline.packed_bytes
        handful.append(outline)
    if handful:
        yield handful


def _outputs(packed_summary: bytes, packed: bytes) -> Iterator[Output]:
    summary = unpack_json(packed_summary)
    lines = iter(unpack_lines(packed))
    for index, count in zip(summary["index"], summary["outputs"], strict=True):
        for position in range(count):
            yield Output(index, position, next(lines))


def as_json_array(outputs: Iterable[Output]) -> bytes:
    """Return outputs as the bytes of a JSON array, without parsing them."""
    return b"[" + b",".join(one.line for one in outputs) + b"]"


def as_ndjson(outputs: Iterable[Output]) -> Iterator[bytes]:
    """Yield outputs as newline-delimited JSON, in pieces of some kilobytes."""
    return in_pieces(one.line + b"\n" for one in outputs)


def in_pieces(lines: Iterable[bytes], size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Yield the lines in pieces of about `size` bytes."""
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
