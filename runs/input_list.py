"""The list of a run's inputs, by page and by filter: what `/inputs` answers.

`runs.input_states` says what became of each. What stands here reads no more of a run than the page needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection

from rest.pagination import COUNTED_UP_TO
from runs.chunks import DoneBits
from runs.input_states import NOT_EXECUTED, STATUSES, Stretch, inputs_of, labels_of
from runs.models import Batch, BatchStatus, Run, RunStatus
from runs.results import WIDEST_BATCH
from statements.cursors import binary_rows

PENDING = frozenset(STATUSES) - {"FAILED", "SUCCEEDED"}
INPUTS_READ_TOGETHER = 2_000
ERRORS_READ_TOGETHER = 1_000
WINDOW = 200
MAX_INDEX = 2**31 - 1


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

    @property
    def is_of_failures(self) -> bool:
        return bool(self.error_labels) or set(self.statuses) == {"FAILED"}


class InputPlace(NamedTuple):
    """Where a page starts: the first input from this index on that the filter takes is the `offset`th it takes."""

    input_index: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class InputPage:
    inputs: list[dict[str, Any]]
    start: int
    next: InputPlace | None
    total: int


def page(
    run: Run,
    *,
    limit: int,
    wanted: InputFilter,
    start: InputPlace | None = None,
    offset: int = 0,
    total: int | None = None,
) -> InputPage:
    """Return up to `limit` inputs that `wanted` takes, from `start` or from the `offset`th, as the API shows them.

    `total` is how many there are, for whoever knows: labels are counted by reading all errors.
    """
    if wanted.is_open:
        return _open_page(run, limit=limit, index=start.input_index if start else offset)
    first, from_index, to_skip = (start.offset, start.input_index, 0) if start else (offset, 0, offset)
    taken, following = _taken(run, wanted, limit=limit, from_index=from_index, to_skip=to_skip)
    return InputPage(
        taken,
        first,
        None if following is None else InputPlace(following, first + limit),
        _total(run, wanted) if total is None else total,
    )


def _taken(
    run: Run, wanted: InputFilter, *, limit: int, from_index: int, to_skip: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return the inputs of a page, and from which index on there are more, if there are."""
    taken: list[dict[str, Any]] = []
    stretches = _stretches(run, wanted, from_index=from_index, first_window=_first_window(limit))
    enough = limit + 1 if wanted.error_labels else limit  # of labels only reading tells whether more follow
    for group in _groups(stretches, wanted, enough):
        matching = _count(group, wanted)
        if matching is not None and to_skip >= matching:
            to_skip -= matching
            continue
        found = inputs_of(run, group, from_index=from_index, takes=wanted.takes, only_failed=wanted.is_of_failures)
        for one in found:
            if not _has_label(wanted, one):
                continue
            if to_skip:
                to_skip -= 1
            elif len(taken) == limit:
                return taken, one["index"]
            else:
                taken.append(one)
        if matching is not None and len(taken) == limit:
            following = next((stretch for stretch in stretches if _count_of(stretch, wanted)), None)
            return taken, following.first_index if following else None
    return taken, None


def stream(run: Run, wanted: InputFilter) -> Iterator[dict[str, Any]]:
    """Yield all inputs that `wanted` takes, as the API shows them, some hundred in memory at once."""
    for group in _groups(_stretches(run, wanted), wanted, INPUTS_READ_TOGETHER):
        found = inputs_of(run, group, takes=wanted.takes, only_failed=wanted.is_of_failures)
        yield from (one for one in found if _has_label(wanted, one))


def _open_page(run: Run, *, limit: int, index: int) -> InputPage:
    total = run.progress.input_count
    end = min(index + limit, total)
    stretches = list(_stretches(run, InputFilter(), from_index=index, to_index=end))
    taken = list(inputs_of(run, stretches, from_index=index, to_index=end))
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
    for group in _groups(_stretches(run, wanted), wanted, ERRORS_READ_TOGETHER, at_most=WINDOW * WIDEST_BATCH):
        total += sum(error_label in wanted.error_labels for error_label in labels_of(group))
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


def _has_label(wanted: InputFilter, one: dict[str, Any]) -> bool:
    return not wanted.error_labels or (one["last_error"] or {}).get("label") in wanted.error_labels


_STRETCHES = """
SELECT chunk.id, chunk.first_index, chunk.input_count, chunk.invalid_count,
       batch.id, batch.status, batch.done, batch.retries,
       COALESCE((SELECT sum(succeeded_count) FROM runs_resultchunk WHERE batch_id = batch.id), 0)
  FROM runs_inputchunk AS chunk
       LEFT JOIN runs_batch AS batch ON batch.run_id = %(run)s AND batch.first_index = chunk.first_index
 WHERE chunk.input_set_id = %(input_set)s AND chunk.first_index > %(after)s AND chunk.first_index < %(to_index)s
   AND chunk.first_index + chunk.input_count > %(from_index)s AND ({may_hold})
 ORDER BY chunk.first_index LIMIT {size}
"""
_HAS_RESULT = """EXISTS (
       SELECT FROM runs_resultchunk WHERE run_id = %(run)s AND {count} > 0
          AND first_index >= chunk.first_index AND first_index < chunk.first_index + chunk.input_count)"""
_RESTS = "batch.status IN ('READY', 'WAITING')"


def _stretches(
    run: Run, wanted: InputFilter, *, from_index: int = 0, to_index: int = MAX_INDEX, first_window: int = WINDOW
) -> Iterator[Stretch]:
    """Yield, window by window, the stretches that may hold an input which `wanted` takes."""
    may_hold = " OR ".join(_may_hold(run, wanted)) or "false"
    values = {"run": run.pk, "input_set": run.input_set_id, "from_index": from_index, "to_index": to_index}
    after, size = from_index - WIDEST_BATCH, first_window
    while True:
        rows = binary_rows(_STRETCHES.format(may_hold=may_hold, size=size), {**values, "after": after})
        for row in rows:
            yield Stretch(run.status, run.last_error, *row)
        if len(rows) < size:
            return
        after, size = rows[-1][1], WINDOW


def _first_window(limit: int) -> int:
    """Return how many stretches a page may take at first: one of few numbers, for each is a statement of its own."""
    return min(1 << limit.bit_length(), WINDOW)


def _may_hold(run: Run, wanted: InputFilter) -> Iterator[str]:
    """Yield the conditions of which a stretch meets one if it may hold an input which `wanted` takes."""
    if wanted.is_open or run.status == RunStatus.INVALID:
        yield "true"
        return
    if wanted.takes("FAILED"):
        yield "chunk.invalid_count > 0"
        yield _HAS_RESULT.format(count="failed_count")
    if wanted.takes("SUCCEEDED"):
        yield _HAS_RESULT.format(count="succeeded_count")
    if run.status in NOT_EXECUTED:
        if wanted.takes(run.status):
            yield "batch.status <> 'DONE'"
        return
    if wanted.takes("RUNNING"):
        yield "batch.status = 'LEASED'"
    if wanted.takes("SCHEDULED"):
        yield _RESTS if run.status == RunStatus.SCHEDULED else f"{_RESTS} AND batch.retries IS NOT NULL"
    if wanted.takes("QUEUED") and run.status != RunStatus.SCHEDULED:
        yield _RESTS


def _groups(
    stretches: Iterable[Stretch], wanted: InputFilter, enough: int, *, at_most: int = INPUTS_READ_TOGETHER
) -> Iterator[list[Stretch]]:
    """Yield stretches that are read at once: until `enough` inputs may be taken, or they hold `at_most`."""
    group: list[Stretch] = []
    taken = held = 0
    for stretch in stretches:
        group.append(stretch)
        taken += _most(stretch, wanted)
        held += stretch.input_count
        if taken >= enough or held >= at_most:
            yield group
            group, taken, held = [], 0, 0
    if group:
        yield group


def _count(group: Sequence[Stretch], wanted: InputFilter) -> int | None:
    counts = [_count_of(stretch, wanted) for stretch in group]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _count_of(stretch: Stretch, wanted: InputFilter) -> int | None:
    """Return how many inputs the filter takes; None where only reading the errors can tell."""
    most = _most(stretch, wanted)
    return None if most and wanted.error_labels else most


def _most(stretch: Stretch, wanted: InputFilter) -> int:
    """Return how many inputs the filter takes, whatever their label."""
    if stretch.run_status == RunStatus.INVALID:
        failed, succeeded, pending = stretch.input_count, 0, 0
    else:
        succeeded = stretch.succeeded_count
        failed = stretch.done.count() - succeeded
        pending = stretch.input_count - stretch.done.count()
    taken = (succeeded if wanted.takes("SUCCEEDED") else 0) + (failed if wanted.takes("FAILED") else 0)
    if pending and not PENDING.isdisjoint(wanted.statuses) and not wanted.error_labels:
        taken += sum(wanted.takes(stretch.pending_status(offset)) for offset in stretch.done.missing())
    return taken
