"""What became of each input of a run: its status, error and times.

No row says the status of an input. It follows from the batch's `done` bits, the result chunks, the errors kept with
the input chunks, and where run and batch stand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from itertools import compress, repeat
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import from_json

from runs import failures
from runs.calls import input_error
from runs.chunks import DoneBits, unpack_json, unpack_lines
from runs.models import BatchStatus, Run, RunStatus
from runs.uids import input_uid
from statements.cursors import binary_rows

STATUSES = ("CREATED", "QUEUED", "SCHEDULED", "RUNNING", "BLOCKED", "FAILED", "SUCCEEDED", "STOPPED")
NOT_EXECUTED = frozenset({RunStatus.STOPPED, RunStatus.BLOCKED, RunStatus.CREATED})


@dataclass(slots=True)
class Stretch:
    """The inputs of one chunk, with its batch where the run has one, and what is known without reading either."""

    run_status: str
    run_error: dict[str, Any] | None
    chunk_id: int
    first_index: int
    input_count: int
    invalid_count: int
    batch_id: int | None
    batch_status: str | None
    packed_done: InitVar[bytes | None]
    retries: dict[str, Any] | None
    succeeded_count: int
    done: DoneBits = field(init=False)

    def __post_init__(self, packed_done: bytes | None) -> None:
        self.done = DoneBits(self.input_count, packed_done or b"")

    def pending_status(self, offset: int) -> str:
        """Return the status of an input that has no result."""
        if self.run_status in NOT_EXECUTED:
            return str(self.run_status)
        if self.batch_id is None:
            return "QUEUED"
        if self.batch_status == BatchStatus.LEASED:
            return "RUNNING"
        if self.run_status == RunStatus.SCHEDULED or self.retry(offset):
            return "SCHEDULED"
        return "QUEUED"

    def retry(self, offset: int) -> dict[str, Any] | None:
        """Return what is kept of an input that waits to be tried again."""
        return (self.retries or {}).get(str(offset))


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


_RESULTS = """
SELECT batch_id, generation, summary, failures FROM runs_resultchunk
 WHERE batch_id = ANY(%s::bigint[]){of_failures} ORDER BY generation, id
"""
_OF_FAILURES = " AND (failed_count > 0 OR generation > 0)"


def _results(stretches: Iterable[Stretch], *, only_failed: bool) -> dict[int | None, dict[int, _Result]]:
    """Return the results of inputs by batch and index; of two for one input, the later generation's."""
    batch_ids = [stretch.batch_id for stretch in stretches if stretch.batch_id]
    found: dict[int | None, dict[int, _Result]] = {batch_id: {} for batch_id in batch_ids}
    statement = _RESULTS.format(of_failures=_OF_FAILURES if only_failed else "")
    for batch_id, generation, packed, errors in binary_rows(statement, [batch_ids]):
        of_batch, summary = found[batch_id], unpack_json(packed)
        if generation:
            for index in summary["index"]:
                of_batch.pop(index, None)
        of_batch.update(_chunk_results(summary, errors, only_failed=only_failed))
    return found


def _chunk_results(
    summary: dict[str, Any], failures: bytes | None, *, only_failed: bool
) -> Iterator[tuple[int, _Result]]:
    errors = iter(unpack_lines(failures)) if failures else iter(())
    lines = [next(errors) if outputs < 0 else None for outputs in summary["outputs"]]
    retries = summary["retries"] or repeat(0)
    columns = (summary["outputs"], retries, summary["started"], summary["took"], repeat(summary["base"]), lines)
    results = zip(summary["index"], zip(*columns, strict=False), strict=True)
    for index, values in compress(results, lines) if only_failed else results:
        yield index, _Result._make(values)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def labels_of(group: Sequence[Stretch]) -> Iterator[str]:
    """Yield the error label of each failed input."""
    errors = failures.standing([stretch.batch_id for stretch in group if stretch.batch_id])
    for stretch in group:
        yield from ("BAD_INPUT" for _ in range(stretch.invalid_count))
        if stretch.run_status == RunStatus.INVALID:
            label = (stretch.run_error or {}).get("label", "BAD_INPUT")
            yield from (label for _ in range(stretch.input_count - stretch.invalid_count))
        for offset in range(stretch.input_count):
            line = errors.get(stretch.first_index + offset)
            if line and offset in stretch.done:
                yield from_json(line)["label"]


_INPUTS = "SELECT id, inputs, custom_data, invalid FROM runs_inputchunk WHERE id = ANY(%s::bigint[])"


def inputs_of(
    run: Run,
    stretches: Sequence[Stretch],
    *,
    from_index: int = 0,
    to_index: int | None = None,
    takes: Callable[[str], bool] = lambda status: True,
    only_failed: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the inputs of `stretches` whose status `takes` takes, all read at once, as the API shows them.

    `only_failed` says that it takes FAILED alone: then no others are looked at.
    """
    only_failed = only_failed and run.status != RunStatus.INVALID
    results = _results(stretches, only_failed=only_failed)
    rows = binary_rows(_INPUTS, [[stretch.chunk_id for stretch in stretches]])
    packs = {chunk_id: packed for chunk_id, *packed in rows}
    for stretch in stretches:
        inputs, custom, errors = packs[stretch.chunk_id]
        lines = unpack_lines(inputs)
        custom_data = unpack_lines(custom) if custom else None
        invalid = unpack_json(errors) if errors else {}
        found = results.get(stretch.batch_id, {})
        first = max(from_index - stretch.first_index, 0)
        end = stretch.input_count if to_index is None else min(stretch.input_count, to_index - stretch.first_index)
        for offset in _failed(stretch, invalid, found, first) if only_failed else range(first, end):
            index = stretch.first_index + offset
            error, result = invalid.get(str(offset)), found.get(index)
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


def _failed(stretch: Stretch, invalid: Collection[str], failed: Collection[int], first: int) -> list[int]:
    """Return the offsets from `first` on of inputs that may stand failed: `failed` are indexes of failures."""
    offsets = {int(offset) for offset in invalid} | {index - stretch.first_index for index in failed}
    return sorted(offset for offset in offsets if offset >= first)


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
    retry = stretch.retry(offset)
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
