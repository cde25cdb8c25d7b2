"""Which inputs stand failed, and why, over all generations: of two results for an input the later one counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.db.models import Q
from pydantic_core import from_json

from runs.chunks import unpack_json, unpack_lines
from runs.models import Batch, ResultChunk, RunProgress

BATCHES_READ_TOGETHER = 50


def standing(batches: Collection[Batch] | Collection[int]) -> dict[int, bytes]:
    """Return the error of each failed input of some batches, packed JSON by index; the one recorded last is last."""
    chunks = ResultChunk.objects.filter(Q(failed_count__gt=0) | Q(generation__gt=0), batch__in=batches)
    found: dict[int, bytes] = {}
    for chunk in chunks.order_by("generation", "pk").only("summary", "failures"):
        summary = unpack_json(chunk.summary)
        errors = iter(unpack_lines(chunk.failures)) if chunk.failures else iter(())
        for index, outputs in zip(summary["index"], summary["outputs"], strict=True):
            found.pop(index, None)
            if outputs < 0:
                found[index] = next(errors)
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
