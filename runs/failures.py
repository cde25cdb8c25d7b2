"""Which inputs stand failed, and why, over all generations: of two results for an input the later one counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json

from runs.chunks import unpack_json, unpack_lines
from runs.models import ResultChunk, RunProgress
from statements.cursors import binary_rows

BATCHES_READ_TOGETHER = 50


_CHUNKS = """
SELECT generation, summary, failures FROM runs_resultchunk
 WHERE batch_id = ANY(%s::bigint[]) AND (failed_count > 0 OR generation > 0) ORDER BY generation, id
"""


def standing(batch_ids: Sequence[int]) -> dict[int, bytes]:
    """Return the error of each failed input of some batches, packed JSON by index; the one recorded last is last."""
    found: dict[int, bytes] = {}
    for generation, packed, failures in binary_rows(_CHUNKS, [batch_ids]):
        summary = unpack_json(packed)
        if generation:
            for index in summary["index"]:
                found.pop(index, None)
        if failures:
            failed = [index for index, count in zip(summary["index"], summary["outputs"], strict=True) if count < 0]
            found.update(zip(failed, unpack_lines(failures), strict=True))
    return found


def groups_with_failures(run_id: int) -> Iterator[list[int]]:
    """Yield a run's batches that ever had a failure, in groups that are read at once, the latest first."""
    chunks = ResultChunk.objects.filter(run=run_id, failed_count__gt=0).order_by("-pk")
    batch_ids = list(dict.fromkeys(chunks.values_list("batch", flat=True)))
    for start in range(0, len(batch_ids), BATCHES_READ_TOGETHER):
        yield batch_ids[start : start + BATCHES_READ_TOGETHER]


def last_error(progress: RunProgress) -> dict[str, Any] | None:
    """Return the error of an input that failed late and was not made good since; None where there is none."""
    if not progress.failed_count:
        return None
    if not progress.generation:
        chunk = ResultChunk.objects.filter(run=progress.run_id, failed_count__gt=0).order_by("-pk").first()
        return _read(unpack_lines(chunk.failures)[-1]) if chunk and chunk.failures else None
    for group in groups_with_failures(progress.run_id):
        if found := standing(group):
            return _read(list(found.values())[-1])
    return None


def _read(line: bytes) -> dict[str, Any]:
    error: dict[str, Any] = from_json(line)
    return error
