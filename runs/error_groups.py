"""What went wrong in a run: its failures by label, with examples, in a bounded number of rows read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from runs import failures
from runs.chunks import DoneBits, unpack_json
from runs.models import Batch, InputChunk, ResultChunk, Run, RunStatus

FAILURES_READ = 10_000
BATCHES_READ = 200
EXAMPLES = 3


@dataclass(slots=True)
class ErrorGroup:
    """The failed inputs with one label: how many, and some of them by index, each with its message."""

    label: str
    count: int = 0
    examples: dict[int, str] = field(default_factory=dict)

    def add(self, index: int, error: Mapping[str, Any], count: int = 1) -> None:
        """Count an input that failed so."""
        self.count += count
        if len(self.examples) < EXAMPLES:
            self.examples[index] = str(error.get("message", ""))


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The groups, the largest first. `left_out` failures, earlier than the others, were not looked at."""

    groups: Sequence[ErrorGroup]
    left_out: int


def error_groups(run: Run) -> ErrorGroups:
    """Return the run's failed inputs by label, those that were never executed among them, in at most four queries.

    Of the failures the latest 10,000 are looked at, or those of the latest 200 batches that had any, whichever are
    fewer.
    """
    found: dict[str, ErrorGroup] = {}
    looked_at = 0
    for index, line in _standing(run):
        error = from_json(line)
        found.setdefault(error["label"], ErrorGroup(error["label"])).add(index, error)
        looked_at += 1
    _add_invalid(run, found)
    groups = sorted(found.values(), key=lambda group: (-group.count, group.label))
    return ErrorGroups(groups, max(run.progress.failed_count - looked_at, 0))


def _standing(run: Run) -> Iterator[tuple[int, bytes]]:
    """Yield the index and error of failures that stand, the latest first."""
    if not run.progress.failed_count:
        return
    batch_ids = _batches_looked_at(run)
    cleared = _cleared(batch_ids) if run.progress.generation else {}
    for index, line in reversed(failures.standing(batch_ids).items()):
        if index not in cleared:
            yield index, line


def _batches_looked_at(run: Run) -> list[int]:
    chunks = ResultChunk.objects.filter(run=run, failed_count__gt=0).order_by("-pk")
    found: dict[int, None] = {}
    read = 0
    for batch_id, failed_count in chunks.values_list("batch", "failed_count")[:FAILURES_READ]:
        if batch_id not in found and (read >= FAILURES_READ or len(found) == BATCHES_READ):
            break
        found[batch_id] = None
        read += failed_count
    return list(found)


def _cleared(batch_ids: Sequence[int]) -> set[int]:
    """Return the inputs that have no result: those that failed and are to run again are among them."""
    batches = Batch.objects.filter(pk__in=batch_ids).only("first_index", "input_count", "done")
    return {
        batch.first_index + offset for batch in batches for offset in DoneBits(batch.input_count, batch.done).missing()
    }


def _add_invalid(run: Run, found: dict[str, ErrorGroup]) -> None:
    if run.status == RunStatus.INVALID:
        error = run.last_error or {}
        label = error.get("label", "BAD_INPUT")
        others = run.progress.input_count - run.progress.invalid_count
        if others:
            found[label] = ErrorGroup(label, others)
    if not run.progress.invalid_count:
        return
    group = found.setdefault("BAD_INPUT", ErrorGroup("BAD_INPUT"))
    group.count += run.progress.invalid_count
    chunks = InputChunk.objects.filter(input_set=run.input_set_id, invalid_count__gt=0).order_by("first_index")
    for first_index, invalid in chunks.values_list("first_index", "invalid")[:EXAMPLES]:
        errors = unpack_json(invalid) if invalid else {}
        for offset, error in list(errors.items())[:EXAMPLES]:
            group.add(first_index + int(offset), error, count=0)
