"""A run's inputs with what became of each: what `/inputs` lists.

No row says the status of an input. It follows from the batch's `done` bits, the result chunks, the errors kept with
the input chunks, and where run and batch stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Exists, OuterRef, Q, Sum
from pydantic_core import from_json

from rest.pagination import COUNTED_UP_TO
from runs.calls import input_error
from runs.chunks import DoneBits, unpack_json, unpack_lines
from runs.dispatch import load_retries
from runs.models import Batch, BatchStatus, InputChunk, ResultChunk, Run, RunStatus, input_uid
from runs.results import WIDEST_BATCH

STATUSES = ("CREATED", "QUEUED", "SCHEDULED", "RUNNING", "BLOCKED", "FAILED", "SUCCEEDED", "STOPPED")
PENDING = frozenset(STATUSES) - {"FAILED", "SUCCEEDED"}
NOT_EXECUTED = frozenset({RunStatus.STOPPED, RunStatus.BLOCKED, RunStatus.CREATED})
INPUTS_READ_TOGETHER = 200
WINDOW = 200


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


class InputPlace(NamedTuple):
    """Where a page starts: at an input, which is the `offset`th that the filter takes."""

    input_index: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class InputPage:
    inputs: list[dict[str, Any]]
    start: int
    next: InputPlace | None
    total: int


def page(run: Run, *, limit: int, wanted: InputFilter, start: InputPlace | None = None, offset: int = 0) -> InputPage:
    """Return up to `limit` inputs that `wanted` takes, from `start` or from the `offset`th, as the API shows them."""
    if wanted.is_open:
        return _open_page(run, limit=limit, index=start.input_index if start else offset)
    first = start.offset if start else offset
    to_skip = 0 if start else offset
    taken: list[dict[str, Any]] = []
    from_index = start.input_index if start else 0
    for group in _groups(_stretches(run, wanted, from_index=from_index)):
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
                return InputPage(taken, first, InputPlace(one["index"], first + limit), _total(run, wanted))
            else:
                taken.append(one)
    return InputPage(taken, first, None, _total(run, wanted))


def _open_page(run: Run, *, limit: int, index: int) -> InputPage:
    total = run.progress.input_count
    end = min(index + limit, total)
    stretches = list(_stretches(run, InputFilter(), from_index=index, to_index=end))
    taken = list(_inputs(run, stretches, from_index=index, to_index=end))
    return InputPage(taken, index, InputPlace(end, end) if end < total else None, total)


def _total(run: Run, wanted: InputFilter) -> int:
    """Return how many inputs the filter takes, counting labels no further than the header tells."""
    if wanted.error_labels:
        return _labelled_count(run, wanted)
    progress = run.progress
    counts = {"SUCCEEDED": progress.succeeded_count, "FAILED": progress.failed_count + progress.invalid_count}
    if not PENDING.isdisjoint(wanted.statuses):
        counts |= _pending_counts(run)
    return sum(count for status, count in counts.items() if wanted.takes(status))


def _labelled_count(run: Run, wanted: InputFilter) -> int:
    total = 0
    for group in _groups(_stretches(run, wanted)):
        total += sum(error_label in wanted.error_labels for error_label in _labels(group))
        if total > COUNTED_UP_TO:
            break
    return total


def _pending_counts(run: Run) -> dict[str, int]:
    """Return how many inputs without a result have which status: few batches are leased, and the rest is known."""
    remaining = run.progress.remaining
    if run.status in NOT_EXECUTED or not remaining:
        return {run.status: remaining} if remaining else {}
    leased = Batch.objects.filter(run=run, status=BatchStatus.LEASED).values_list("input_count", "done")
    running = sum(size - DoneBits(size, done).count() for size, done in leased)
    scheduled = remaining - running if run.status == RunStatus.SCHEDULED else _retry_count(run)
    # Workers go on between these looks.
    return {"RUNNING": running, "SCHEDULED": max(scheduled, 0), "QUEUED": max(remaining - running - scheduled, 0)}


_RETRY_COUNT = """
SELECT count(*) FROM runs_batch CROSS JOIN LATERAL json_object_keys(retries)
 WHERE run_id = %s AND status <> 'LEASED' AND retries IS NOT NULL
"""


def _retry_count(run: Run) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_RETRY_COUNT, [run.pk])
        return int(cursor.fetchone()[0])


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


def _stretches(
    run: Run, wanted: InputFilter, *, from_index: int = 0, to_index: int | None = None
) -> Iterator[_Stretch]:
    """Yield, window by window, the stretches that may hold an input which `wanted` takes."""
    chunks = InputChunk.objects.filter(_may_hold(run, wanted), input_set=run.input_set_id).order_by("first_index")
    if to_index is not None:
        chunks = chunks.filter(first_index__lt=to_index)
    after = from_index - WIDEST_BATCH
    while True:
        window = chunks.filter(first_index__gt=after)[:WINDOW]
        rows = list(window.values_list("pk", "first_index", "input_count", "invalid_count"))
        for stretch in _with_batches(run, rows):
            if stretch.first_index + stretch.input_count > from_index:
                yield stretch
        if len(rows) < WINDOW:
            return
        after = rows[-1][1]


def _with_batches(run: Run, rows: Sequence[tuple[int, int, int, int]]) -> Iterator[_Stretch]:
    batches = Batch.objects.filter(run=run, first_index__in=[first_index for _, first_index, _, _ in rows])
    batch_at = {batch.first_index: batch for batch in batches.only("first_index", "status", "done", "retries")}
    results = ResultChunk.objects.filter(batch__in=[batch.pk for batch in batch_at.values()])
    succeeded = dict(results.values_list("batch").annotate(count=Sum("succeeded_count")).order_by())
    for pk, first_index, input_count, invalid_count in rows:
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


def _may_hold(run: Run, wanted: InputFilter) -> Q:
    """Return the condition of input chunks that may hold an input which `wanted` takes."""
    if wanted.is_open or run.status == RunStatus.INVALID:
        return Q()
    end = OuterRef("first_index") + OuterRef("input_count")
    results = ResultChunk.objects.filter(run=run, first_index__gte=OuterRef("first_index"), first_index__lt=end)
    found = Q(pk__in=[])
    if wanted.takes("FAILED"):
        found |= Q(invalid_count__gt=0) | Q(Exists(results.filter(failed_count__gt=0)))
    if wanted.takes("SUCCEEDED"):
        found |= Q(Exists(results.filter(succeeded_count__gt=0)))
    pending = _may_be_pending(run, wanted)
    if pending:
        found |= Q(Exists(Batch.objects.filter(pending, run=run, first_index=OuterRef("first_index"))))
    return found


def _may_be_pending(run: Run, wanted: InputFilter) -> Q:
    """Return the condition of batches that may hold an input without a result which `wanted` takes; none is false."""
    if run.status in NOT_EXECUTED:
        return ~Q(status=BatchStatus.DONE) if wanted.takes(run.status) else Q()
    found = Q()
    if wanted.takes("RUNNING"):
        found |= Q(status=BatchStatus.LEASED)
    resting = Q(status__in=[BatchStatus.READY, BatchStatus.WAITING])
    if wanted.takes("SCHEDULED"):
        found |= resting if run.status == RunStatus.SCHEDULED else resting & Q(retries__isnull=False)
    if wanted.takes("QUEUED") and run.status != RunStatus.SCHEDULED:
        found |= resting
    return found


def _groups(stretches: Iterable[_Stretch]) -> Iterator[list[_Stretch]]:
    """Yield stretches that are read at once: one, or small ones up to some hundred inputs."""
    group: list[_Stretch] = []
    held = 0
    for stretch in stretches:
        group.append(stretch)
        held += stretch.input_count
        if held >= INPUTS_READ_TOGETHER:
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
