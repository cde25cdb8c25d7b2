"""What became of each input of a run: its status, error and times.

No row says the status of an input. It follows from the batch's `done` bits, the result chunks, the errors kept with
the input chunks, and where run and batch stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import from_json

from runs import failures
from runs.calls import input_error
from runs.chunks import DoneBits, unpack_json, unpack_lines
from runs.leases import load_retries
from runs.models import Batch, BatchStatus, InputChunk, ResultChunk, Run, RunStatus
from runs.uids import input_uid

STATUSES = ("CREATED", "QUEUED", "SCHEDULED", "RUNNING", "BLOCKED", "FAILED", "SUCCEEDED", "STOPPED")
NOT_EXECUTED = frozenset({RunStatus.STOPPED, RunStatus.BLOCKED, RunStatus.CREATED})


@dataclass(slots=True)
class Stretch:
    """The inputs of one chunk, with its batch where the run has one, and what is known without reading either."""

    chunk_id: int
    first_index: int
    input_count: int
    invalid_count: int
    run_status: str
    run_error: dict[str, Any] | None
    batch: Batch | None = None
    succeeded_count: int = 0
    done: DoneBits = field(init=False)

    def __post_init__(self) -> None:
        self.done = DoneBits(self.input_count, self.batch.done if self.batch else b"")

    def pending_status(self, offset: int) -> str:
        """Return the status of an input that has no result."""
        if self.run_status in NOT_EXECUTED:
            return str(self.run_status)
        batch = self.batch
        if batch is None:
            return "QUEUED"
        if batch.status == BatchStatus.LEASED:
            return "RUNNING"
        if self.run_status == RunStatus.SCHEDULED or str(offset) in (batch.retries or {}):
            return "SCHEDULED"
        return "QUEUED"


class _Result(NamedTuple):
    """What a result chunk says of one input, as it is stored: most are only looked at for whether they failed."""

    output_count: int
    retry_count: int
    started_ms: int
    took_ms: int
    base_ms: int
    error: bytes | None

    @property
    def has_failed(self) -> bool:
        return self.output_count < 0


def _results(stretches: Iterable[Stretch]) -> dict[int, _Result]:
    """Return the results of inputs by index; of two for one input, the later generation's."""
    batches = [stretch.batch for stretch in stretches if stretch.batch]
    chunks = ResultChunk.objects.filter(batch__in=batches).order_by("generation", "pk")
    found: dict[int, _Result] = {}
    for chunk in chunks.only("summary", "failures"):
        found.update(_chunk_results(chunk))
    return found


def _chunk_results(chunk: ResultChunk) -> Iterator[tuple[int, _Result]]:
    summary = unpack_json(chunk.summary)
    errors = iter(unpack_lines(chunk.failures)) if chunk.failures else iter(())
    retries = summary["retries"] or repeat(0)
    lines = [next(errors) if outputs < 0 else None for outputs in summary["outputs"]]
    columns = (summary["outputs"], retries, summary["started"], summary["took"], repeat(summary["base"]), lines)
    return zip(summary["index"], map(_Result._make, zip(*columns, strict=False)), strict=True)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def labels_of(group: Sequence[Stretch]) -> Iterator[str]:
    """Yield the error label of each failed input."""
    errors = failures.standing([stretch.batch for stretch in group if stretch.batch])
    for stretch in group:
        yield from ("BAD_INPUT" for _ in range(stretch.invalid_count))
        if stretch.run_status == RunStatus.INVALID:
            label = (stretch.run_error or {}).get("label", "BAD_INPUT")
            yield from (label for _ in range(stretch.input_count - stretch.invalid_count))
        for offset in range(stretch.input_count):
            line = errors.get(stretch.first_index + offset)
            if line and offset in stretch.done:
                yield from_json(line)["label"]


def inputs_of(
    run: Run,
    stretches: Sequence[Stretch],
    *,
    from_index: int = 0,
    to_index: int | None = None,
    takes: Callable[[str], bool] = lambda status: True,
) -> Iterator[dict[str, Any]]:
    """Yield the inputs of `stretches` whose status `takes` takes, all read at once, as the API shows them."""
    chunks = InputChunk.objects.in_bulk([stretch.chunk_id for stretch in stretches])
    results = _results(stretches)
    for stretch in stretches:
        chunk = chunks[stretch.chunk_id]
        lines = unpack_lines(chunk.inputs)
        custom_data = unpack_lines(chunk.custom_data) if chunk.custom_data else None
        invalid = unpack_json(chunk.invalid) if chunk.invalid else {}
        first = max(from_index - stretch.first_index, 0)
        end = stretch.input_count if to_index is None else min(stretch.input_count, to_index - stretch.first_index)
        for offset in range(first, end):
            index = stretch.first_index + offset
            error, result = invalid.get(str(offset)), results.get(index)
            status = _status(run, stretch, offset, error, result)
            if not takes(status):
                continue
            state = _state(run, stretch, offset, error, result)
            yield {
                "uid": input_uid(run.uid, index),
                "index": index,
                "status": status,
                "input_data": from_json(lines[offset]),
                "custom_data": from_json(custom_data[offset]) if custom_data else None,
                **state,
                "created_at": run.created_at,
            }


def _status(run: Run, stretch: Stretch, offset: int, invalid: dict[str, Any] | None, result: _Result | None) -> str:
    if invalid or run.status == RunStatus.INVALID:
        return "FAILED"
    if result and offset in stretch.done:
        return "FAILED" if result.has_failed else "SUCCEEDED"
    return stretch.pending_status(offset)


def _state(
    run: Run, stretch: Stretch, offset: int, invalid: dict[str, Any] | None, result: _Result | None
) -> dict[str, Any]:
    """Return what became of an input, but for its status."""
    error = invalid or (_error_of_run(run) if run.status == RunStatus.INVALID else None)
    if error:
        return _shown(run.created_at, error=error_of_invalid(error, run.uid, stretch.first_index + offset))
    if result and offset in stretch.done:
        started_ms = result.base_ms + result.started_ms
        finished_at = _time(started_ms + result.took_ms)
        return _shown(
            finished_at,
            error=from_json(result.error) if result.error else None,
            output_count=max(result.output_count, 0),
            retry_count=result.retry_count,
            started_at=_time(started_ms),
            finished_at=finished_at,
        )
    retry = load_retries(stretch.batch.retries if stretch.batch else None).get(offset)
    return _shown(run.updated_at, retry_count=retry["attempts"] if retry else 0)


def _shown(
    updated_at: datetime,
    *,
    error: dict[str, Any] | None = None,
    output_count: int = 0,
    retry_count: int = 0,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
) -> dict[str, Any]:
    return {
        "last_error": error,
        "output_count": output_count,
        "retry_count": retry_count,
        "updated_at": updated_at,
        "started_at": started_at,
        "finished_at": finished_at,
    }


def error_of_invalid(error: Mapping[str, Any], run_uid: UUID, index: int) -> dict[str, Any]:
    """Return the error of an input that was never executed, kept with the inputs, as that of the run's input."""
    return {**error, "error_ref": str(input_uid(run_uid, index))}


def _error_of_run(run: Run) -> dict[str, Any]:
    error = run.last_error or {}
    return input_error(
        error.get("label", "BAD_INPUT"),
        error.get("message", ""),
        scope=error.get("scope", "input"),
        params=error.get("params"),
        error_ref="",
    )
