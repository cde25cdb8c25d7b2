"""A run's inputs with what became of each: what `/inputs` lists.

No row says the status of an input. It follows from the batch's `done` bits, the result chunks, the errors kept with
the input chunks, and where run and batch stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db.models import Sum
from pydantic_core import from_json

from runs.calls import input_error
from runs.chunks import DoneBits, unpack_json, unpack_lines
from runs.dispatch import load_retries
from runs.models import Batch, BatchStatus, InputChunk, ResultChunk, Run, RunStatus, input_uid
from runs.results import WIDEST_BATCH

STATUSES = ("CREATED", "QUEUED", "SCHEDULED", "RUNNING", "BLOCKED", "FAILED", "SUCCEEDED", "STOPPED")
COUNTED_UP_TO = 10_001
READ_TOGETHER = 200


@dataclass(frozen=True, slots=True)
class InputFilter:
    """Which inputs are wanted: any of `statuses`, and any of `error_labels`; empty is all."""

    statuses: Collection[str] = ()
    error_labels: Collection[str] = ()

    @property
    def is_open(self) -> bool:
        return not self.statuses and not self.error_labels

    def takes(self, status: str) -> bool:
        if self.error_labels and status != "FAILED":
            return False
        return not self.statuses or status in self.statuses


class Place(NamedTuple):
    """Where a page starts: at an input, which is the `offset`th that the filter takes."""

    input_index: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class InputPage:
    inputs: list[dict[str, Any]]
    start: int
    next: Place | None
    total: int


def page(run: Run, *, limit: int, wanted: InputFilter, start: Place | None = None, offset: int = 0) -> InputPage:
    """Return up to `limit` inputs that `wanted` takes, from `start` or from the `offset`th, as the API shows them."""
    if wanted.is_open:
        return _open_page(run, limit=limit, index=start.input_index if start else offset)
    first = start.offset if start else offset
    to_skip = 0 if start else offset
    taken: list[dict[str, Any]] = []
    from_index = start.input_index if start else 0
    for group in _groups(_stretches(run, from_index=from_index)):
        matching = _count(group, wanted)
        if matching is not None and to_skip >= matching:
            to_skip -= matching
            continue
        for one in _inputs(run, group, from_index=from_index):
            if not _takes(wanted, one):
                continue
            if to_skip:
                to_skip -= 1
            elif len(taken) == limit:
                return InputPage(taken, first, Place(one["index"], first + limit), _total(run, wanted))
            else:
                taken.append(one)
    return InputPage(taken, first, None, _total(run, wanted))


def _open_page(run: Run, *, limit: int, index: int) -> InputPage:
    total = run.progress.input_count
    end = min(index + limit, total)
    stretches = list(_stretches(run, from_index=index, to_index=end))
    taken = list(_inputs(run, stretches, from_index=index, to_index=end))
    return InputPage(taken, index, Place(end, end) if end < total else None, total)


def _total(run: Run, wanted: InputFilter) -> int:
    """Return how many inputs the filter takes, counting no further than the header tells."""
    progress = run.progress
    if not wanted.error_labels:
        known = {"SUCCEEDED": progress.succeeded_count, "FAILED": progress.failed_count + progress.invalid_count}
        if set(wanted.statuses) <= set(known):
            return sum(known[status] for status in set(wanted.statuses))
    total = 0
    for group in _groups(_stretches(run)):
        count = _count(group, wanted)
        if count is None:
            count = sum(error_label in wanted.error_labels for error_label in _labels(group))
        total += count
        if total >= COUNTED_UP_TO:
            break
    return total


def _takes(wanted: InputFilter, one: dict[str, Any]) -> bool:
    if not wanted.takes(one["status"]):
        return False
    return not wanted.error_labels or (one["last_error"] or {}).get("label") in wanted.error_labels


@dataclass(slots=True)
class _Stretch:
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
        if self.run_status in (RunStatus.STOPPED, RunStatus.BLOCKED, RunStatus.CREATED):
            return str(self.run_status)
        batch = self.batch
        if batch is None:
            return "QUEUED"
        if batch.status == BatchStatus.LEASED:
            return "RUNNING"
        if self.run_status == RunStatus.SCHEDULED or str(offset) in (batch.retries or {}):
            return "SCHEDULED"
        return "QUEUED"

    def count(self, wanted: InputFilter) -> int | None:
        """Return how many inputs the filter takes; None where only reading the errors can tell."""
        if self.run_status == RunStatus.INVALID:
            failed, succeeded, pending = self.input_count, 0, 0
        else:
            succeeded = self.succeeded_count
            failed = self.done.count() - succeeded
            pending = self.input_count - self.done.count()
        if wanted.error_labels:
            return None if failed and wanted.takes("FAILED") else 0
        taken = (succeeded if wanted.takes("SUCCEEDED") else 0) + (failed if wanted.takes("FAILED") else 0)
        if pending:
            taken += sum(wanted.takes(self.pending_status(offset)) for offset in self.done.missing())
        return taken


def _stretches(run: Run, *, from_index: int = 0, to_index: int | None = None) -> Iterator[_Stretch]:
    chunks = InputChunk.objects.filter(input_set=run.input_set_id, first_index__gt=from_index - WIDEST_BATCH)
    batches = Batch.objects.filter(run=run, first_index__gt=from_index - WIDEST_BATCH)
    results = ResultChunk.objects.filter(run=run, first_index__gt=from_index - WIDEST_BATCH)
    if to_index is not None:
        chunks = chunks.filter(first_index__lt=to_index)
        batches = batches.filter(first_index__lt=to_index)
        results = results.filter(first_index__lt=to_index)
    succeeded = dict(results.values_list("batch").annotate(count=Sum("succeeded_count")).order_by())
    batch_at = {batch.first_index: batch for batch in batches}
    rows = chunks.order_by("first_index").values_list("pk", "first_index", "input_count", "invalid_count")
    for pk, first_index, input_count, invalid_count in rows:
        if first_index + input_count <= from_index:
            continue
        batch = batch_at.get(first_index)
        yield _Stretch(
            pk,
            first_index,
            input_count,
            invalid_count,
            run.status,
            run.last_error,
            batch,
            succeeded.get(batch.pk, 0) if batch else 0,
        )


def _groups(stretches: Iterable[_Stretch]) -> Iterator[list[_Stretch]]:
    """Yield stretches that are read at once: one, or small ones up to some hundred inputs."""
    group: list[_Stretch] = []
    held = 0
    for stretch in stretches:
        group.append(stretch)
        held += stretch.input_count
        if held >= READ_TOGETHER:
            yield group
            group, held = [], 0
    if group:
        yield group


def _count(group: Sequence[_Stretch], wanted: InputFilter) -> int | None:
    counts = [stretch.count(wanted) for stretch in group]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


@dataclass(frozen=True, slots=True)
class _Result:
    """What the result chunks say of one input."""

    output_count: int
    retry_count: int
    started_at: datetime
    finished_at: datetime
    error: dict[str, Any] | None


def _results(stretches: Iterable[_Stretch], *, failures_only: bool = False) -> dict[int, _Result]:
    """Return the results of inputs by index; of two for one input, the later generation's."""
    batches = [stretch.batch for stretch in stretches if stretch.batch]
    chunks = ResultChunk.objects.filter(batch__in=batches).order_by("generation", "pk")
    if failures_only:
        chunks = chunks.filter(failed_count__gt=0)
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


def _labels(group: Sequence[_Stretch]) -> Iterator[str]:
    """Yield the error label of each failed input."""
    results = _results(group, failures_only=True)
    for stretch in group:
        yield from ("BAD_INPUT" for _ in range(stretch.invalid_count))
        if stretch.run_status == RunStatus.INVALID:
            label = (stretch.run_error or {}).get("label", "BAD_INPUT")
            yield from (label for _ in range(stretch.input_count - stretch.invalid_count))
        for offset in range(stretch.input_count):
            result = results.get(stretch.first_index + offset)
            if result and result.error and offset in stretch.done:
                yield result.error["label"]


def _inputs(
    run: Run, stretches: Sequence[_Stretch], *, from_index: int = 0, to_index: int | None = None
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
    run: Run, stretch: _Stretch, offset: int, invalid: dict[str, Any] | None, result: _Result | None
) -> dict[str, Any]:
    index = stretch.first_index + offset
    error = invalid or (_error_of_run(run) if run.status == RunStatus.INVALID else None)
    if error:
        return _shown("FAILED", run.created_at, error=error | {"error_ref": str(input_uid(run.uid, index))})
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


def _error_of_run(run: Run) -> dict[str, Any]:
    error = run.last_error or {}
    return input_error(
        error.get("label", "BAD_INPUT"),
        error.get("message", ""),
        scope=error.get("scope", "input"),
        params=error.get("params"),
        error_ref="",
    )
