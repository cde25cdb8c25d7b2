"""What became of each input of a run: its status, error and times.

No row says the status of an input. It follows from the batch's `done` bits, the result chunks, the errors kept with
the input chunks, and where run and batch stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from runs import failures
from runs.calls import input_error
from runs.chunks import DoneBits, unpack_json, unpack_lines
from runs.leases import load_retries
from runs.models import Batch, BatchStatus, InputChunk, ResultChunk, Run, RunStatus, input_uid

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


@dataclass(frozen=True, slots=True)
class _Result:
    """What the result chunks say of one input."""

    output_count: int
    retry_count: int
    started_at: datetime
    finished_at: datetime
    error: dict[str, Any] | None


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
    retries = summary["retries"] or [0] * len(summary["index"])
    columns = zip(summary["index"], summary["outputs"], retries, summary["started"], summary["took"], strict=True)
    for index, outputs, retried, started, took in columns:
        started_ms = summary["base"] + started
        yield (
            index,
            _Result(
                output_count=max(outputs, 0),
                retry_count=retried,
                started_at=_time(started_ms),
                finished_at=_time(started_ms + took),
                error=from_json(next(errors)) if outputs < 0 else None,
            ),
        )


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
    run: Run, stretches: Sequence[Stretch], *, from_index: int = 0, to_index: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the inputs of `stretches`, all read at once, as the API shows them."""
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
            state = _state(run, stretch, offset, invalid.get(str(offset)), results.get(index))
            yield {
                "uid": input_uid(run.uid, index),
                "index": index,
                "status": state.pop("status"),
                "input_data": from_json(lines[offset]),
                "custom_data": from_json(custom_data[offset]) if custom_data else None,
                **state,
                "created_at": run.created_at,
            }


def _state(
    run: Run, stretch: Stretch, offset: int, invalid: dict[str, Any] | None, result: _Result | None
) -> dict[str, Any]:
    index = stretch.first_index + offset
    error = invalid or (_error_of_run(run) if run.status == RunStatus.INVALID else None)
    if error:
        return _shown("FAILED", run.created_at, error=error_of_invalid(error, run.uid, index))
    if result and offset in stretch.done:
        return _shown(
            "FAILED" if result.error else "SUCCEEDED",
            result.finished_at,
            error=result.error,
            output_count=result.output_count,
            retry_count=result.retry_count,
            started_at=result.started_at,
            finished_at=result.finished_at,
        )
    retry = load_retries(stretch.batch.retries if stretch.batch else None).get(offset)
    return _shown(stretch.pending_status(offset), run.updated_at, retry_count=retry["attempts"] if retry else 0)


def _shown(
    status: str,
    updated_at: datetime,
    *,
    error: dict[str, Any] | None = None,
    output_count: int = 0,
    retry_count: int = 0,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
) -> dict[str, Any]:
    return {
        "status": status,
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
