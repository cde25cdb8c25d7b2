"""Comparing all that the database holds of runs with what should be."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from runs import input_list, results
from runs.chunks import DoneBits, unpack_json
from runs.input_list import InputFilter
from runs.lifecycle import TRANSITIONS
from runs.models import (
    CLAIMABLE,
    TERMINAL,
    Batch,
    BatchStatus,
    ReadyRun,
    ResultChunk,
    Run,
    RunStatus,
    RunTransition,
)
from tests.runs.run_model import RunModel, World

MAX_SIZE = 12
WAITS = (None, "ACTION_PAUSED", "DEPENDENCY_FAILED")


@dataclass
class Stored:
    """All that the database holds of one run."""

    run: Run
    is_ready: bool
    batches: list[Batch] = field(default_factory=list)
    chunks: list[ResultChunk] = field(default_factory=list)
    transitions: list[RunTransition] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        progress = self.run.progress
        return progress.succeeded_count, progress.failed_count, progress.invalid_count, progress.remaining

    def rows(self) -> tuple[Any, ...]:
        """Return every value, to see whether any has changed."""
        rows = [self.run, self.run.progress, *self.batches, *self.chunks, *self.transitions]
        return tuple(tuple(getattr(row, one.attname) for one in row._meta.concrete_fields) for row in rows)


def load() -> dict[int, Stored]:
    ready = set(ReadyRun.objects.values_list("pk", flat=True))
    found = {run.pk: Stored(run, run.pk in ready) for run in Run.objects.select_related("progress")}
    for batch in Batch.objects.order_by("first_index"):
        found[batch.run_id].batches.append(batch)
    for chunk in ResultChunk.objects.order_by("pk"):
        found[chunk.run_id].chunks.append(chunk)
    for transition in RunTransition.objects.order_by("pk"):
        found[transition.run_id].transitions.append(transition)
    assert ready <= found.keys()
    return found


class Checks(World):
    """What always holds, whatever has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.compared = 0
        self.is_swept = False  # just now
        self.seen: dict[int, tuple[Any, ...]] = {}
        self.quiet: dict[int, tuple[Any, ...]] = {}

    def compare(self) -> None:
        """Compare all that is stored with what should be."""
        found = load()
        self.compared += 1
        assert found.keys() == {of.run.pk for of in self.existing}
        if self.is_swept:
            self.check_line(found)
            self.is_swept = False
        for of in self.existing:
            stored = found[of.run.pk]
            rows = (*stored.rows(), tuple(sorted(of.results.items())), of.is_stopped)
            if self.seen.get(stored.run.pk) == rows:
                continue
            self.check_progress(of, stored)
            self.check_status(of, stored)
            self.check_timeline(stored)
            self.check_batches(of, stored)
            self.check_results(of, stored)
            self.check_lists(of, stored)
            self.check_quiet(of, stored)
            self.seen[stored.run.pk] = rows

    def check_line(self, found: dict[int, Stored]) -> None:
        """After a sweep a run is in line if and only if it can be claimed, and BLOCKED says what it waits for."""
        for of in self.existing:
            stored = found[of.run.pk]
            run, statuses = stored.run, {batch.status for batch in stored.batches}
            is_claimable = run.status in CLAIMABLE and not of.waits_for
            assert stored.is_ready == (is_claimable and BatchStatus.READY in statuses)
            assert run.postponed_until is None or run.postponed_until > timezone.now()
            self.check_blocked(of, stored, is_in_hand=BatchStatus.LEASED in statuses)

    def check_blocked(self, of: RunModel, stored: Stored, *, is_in_hand: bool) -> None:
        run = stored.run
        label = (run.last_error or {}).get("label")
        if of.waits_for and of.is_going_on:
            assert run.status in (RunStatus.BLOCKED, RunStatus.SCHEDULED)
            if run.status == RunStatus.BLOCKED:
                assert label == ("DEPENDENCY_FAILED" if of.is_stuck else None)
        elif self.is_open or is_in_hand:
            assert run.status != RunStatus.BLOCKED
        elif self.limit == "paused":
            assert (run.status == RunStatus.BLOCKED) == stored.is_ready
            assert run.status != RunStatus.BLOCKED or label == "ACTION_PAUSED"

    def check_progress(self, of: RunModel, stored: Stored) -> None:
        progress = stored.run.progress
        assert stored.counts == of.counts
        assert sum(stored.counts) == progress.input_count == of.size
        assert progress.output_count == len(of.outputs)
        assert (progress.epoch, progress.generation) == (of.epoch, of.generation)
        assert (progress.retry_count, progress.failures_in_row) == (of.retry_count, of.failures_in_row)

    def check_status(self, of: RunModel, stored: Stored) -> None:
        run = stored.run
        status = RunStatus(run.status)
        if of.end:
            assert status == of.end
        elif of.is_stopped:
            assert status == RunStatus.STOPPED
        else:
            assert status in CLAIMABLE | {RunStatus.SCHEDULED}
        if status != RunStatus.BLOCKED:
            assert (run.postponed_until is not None) == (status == RunStatus.SCHEDULED)
        assert (run.finished_at is not None) == (status in TERMINAL)
        self.check_last_error(of, run, status)

    def check_last_error(self, of: RunModel, run: Run, status: RunStatus) -> None:
        label = (run.last_error or {}).get("label")
        match status:
            case RunStatus.FAILED | RunStatus.PARTIAL_SUCCEEDED:
                assert label in (set(of.failures.values()) or {None})
            case RunStatus.STOPPED:
                # One that was blocked when it was cancelled tells why it was.
                assert label == "TOO_MANY_FAILURES" if of.stopped_by_itself else label in WAITS
            case RunStatus.BLOCKED:
                assert label in WAITS
            case RunStatus.INVALID:
                assert label == ("DEPENDENCY_FAILED" if of.waited_in_vain else "BAD_INPUT")
            case _:
                assert label is None

    def check_timeline(self, stored: Stored) -> None:
        before = None
        for transition in stored.transitions:
            assert transition.from_status == before
            assert before is None or transition.to_status in TRANSITIONS[RunStatus(before)]
            before = transition.to_status
        assert before == stored.run.status

    def check_batches(self, of: RunModel, stored: Stored) -> None:
        if of.is_invalid:
            assert not stored.batches
            return
        assert [batch.first_index for batch in stored.batches] == list(of.first_indexes())
        held_by = {held.lease.batch_id: held for held in self.leases if held.is_held}
        for batch in stored.batches:
            missing = [batch.first_index + offset for offset in DoneBits(batch.input_count, batch.done).missing()]
            assert missing == of.left_of(batch.first_index)
            if batch.status == BatchStatus.DONE:
                assert not missing
            assert (batch.status == BatchStatus.LEASED) == (batch.pk in held_by) == (batch.leased_until is not None)
            assert batch.worker == (held_by[batch.pk].worker if batch.pk in held_by else "")
            assert (batch.status == BatchStatus.WAITING) == (batch.ready_at is not None)
            waiting = {batch.first_index + int(offset) for offset in batch.retries or {}}
            assert waiting <= set(missing)
            assert batch.status != BatchStatus.WAITING or waiting == set(missing)
        self.check_who_is_at_it(stored)

    def check_who_is_at_it(self, stored: Stored) -> None:
        """The status says whether there is something to do now, or only later."""
        statuses = {batch.status for batch in stored.batches}
        match stored.run.status:
            case RunStatus.RUNNING:
                assert statuses & {BatchStatus.READY, BatchStatus.LEASED}
            case RunStatus.QUEUED:
                assert BatchStatus.READY in statuses
                assert BatchStatus.LEASED not in statuses
            case RunStatus.BLOCKED:
                assert BatchStatus.READY in statuses
                assert BatchStatus.LEASED not in statuses
            case RunStatus.SCHEDULED:
                assert BatchStatus.LEASED not in statuses
                assert stored.run.started_at is None or BatchStatus.READY not in statuses

    def check_results(self, of: RunModel, stored: Stored) -> None:
        recorded: dict[tuple[int, int], int] = defaultdict(int)
        for chunk in stored.chunks:
            summary = unpack_json(chunk.summary)
            for index in summary["index"]:
                recorded[chunk.generation, index] += 1
            outputs = [count for count in summary["outputs"] if count >= 0]
            assert (chunk.succeeded_count, chunk.output_count) == (len(outputs), sum(outputs))
            assert chunk.failed_count == len(summary["outputs"]) - len(outputs)
            assert (chunk.first_index, chunk.last_index) == (min(summary["index"]), max(summary["index"]))
            assert chunk.generation <= of.generation
        assert all(count == 1 for count in recorded.values()), "two results for an input in one generation"

    def check_lists(self, of: RunModel, stored: Stored) -> None:
        run = stored.run
        assert [one.line.decode().strip('"') for one in results.stream(run)] == of.outputs
        shown = input_list.page(run, limit=MAX_SIZE, wanted=InputFilter()).inputs
        assert [one["index"] for one in shown] == list(range(of.size))
        for one in shown:
            assert (one["status"], (one["last_error"] or {}).get("label")) == self.state(of, stored, one["index"])
            result = of.results.get(one["index"])
            assert one["output_count"] == (len(result) if isinstance(result, tuple) else 0)
            if result is None:
                assert one["retry_count"] == of.attempts.get(one["index"], 0)
        statuses = [one["status"] for one in shown]
        if self.compared % 3:
            return
        wanted = statuses[self.compared % of.size]  # another each time
        found = input_list.page(run, limit=MAX_SIZE, wanted=InputFilter(statuses=[wanted]))
        assert [one["index"] for one in found.inputs] == [n for n, status in enumerate(statuses) if status == wanted]
        assert found.total == len(found.inputs)

    def state(self, of: RunModel, stored: Stored, index: int) -> tuple[str, str | None]:
        """Return the status and the error label that an input should be shown with."""
        result = of.results.get(index)
        if index in of.invalid:
            return "FAILED", "BAD_INPUT"
        if of.waited_in_vain:
            return "FAILED", "DEPENDENCY_FAILED"
        if result is not None:
            return ("FAILED", result) if isinstance(result, str) else ("SUCCEEDED", None)
        if of.is_stopped or stored.run.status == RunStatus.BLOCKED:
            return stored.run.status, None
        if any(held.is_valid and held.of is of and held.covers(index) for held in self.leases):
            return "RUNNING", None
        waits = stored.run.status == RunStatus.SCHEDULED or index in of.attempts
        return ("SCHEDULED" if waits else "QUEUED"), None

    def check_quiet(self, of: RunModel, stored: Stored) -> None:
        """Of a run that has ended or is stopped nothing changes that anybody sees."""
        if not (of.has_ended or of.is_stopped):
            return
        seen = Stored(stored.run, False, [], stored.chunks, stored.transitions).rows()
        assert self.quiet.setdefault(stored.run.pk, seen) == seen
