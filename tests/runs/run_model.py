"""What should be true of runs, worked out from what was done to them and from nothing that is stored of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from runs.careful import MAX_DEATHS
from runs.checkpoint import Outcome
from runs.chunks import DoneBits
from runs.leases import Lease
from runs.models import ActionGate, Run, RunStatus

MAX_FAILURES = 4  # in a row, before a run with nothing succeeded is stopped

Result = tuple[str, ...] | str
"""An input's outputs, or the label of its error."""


@dataclass(slots=True)
class Suspicion:
    """Which input of a batch was in hand last, if that was written down, and how many processes died at it."""

    index: int | None = None
    deaths: int = 0


@dataclass(eq=False)
class RunModel:
    """One run: its inputs, the results that count, and what is known of those that have none."""

    number: int
    run: Run
    size: int
    batch_size: int
    invalid: frozenset[int]
    waits_for: list[RunModel] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)  # of those that wait to be tried again
    due_at: dict[int, float] = field(default_factory=dict)
    suspicions: dict[int, Suspicion] = field(default_factory=dict)  # by the first index of the batch
    retry_count: int = 0
    failures_in_row: int = 0
    epoch: int = 0
    generation: int = 0
    is_stopped: bool = False
    stopped_by_itself: bool = False
    is_deleted: bool = False
    waited_in_vain: bool = False
    # Of its callbacks: what was asked for, and what they should tell (`tests.runs.callback_checks`).
    on: str | None = None
    per: str | None = None
    ends: list[str] = field(default_factory=list)
    told_failures: list[tuple[int, str]] = field(default_factory=list)
    told_before_cancel: int | None = None

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))  # so Hypothesis tells it in a step

    def __str__(self) -> str:
        return f"run_{self.number}"

    @property
    def is_invalid(self) -> bool:
        return self.waited_in_vain or len(self.invalid) == self.size

    @property
    def is_met(self) -> bool:
        """Whether those that depend on it may go on."""
        return self.end in (RunStatus.SUCCEEDED, RunStatus.PARTIAL_SUCCEEDED)

    @property
    def is_stuck(self) -> bool:
        """Whether it goes on only when somebody resumes one that it waits for."""
        return any(one.is_stopped or one.end == RunStatus.FAILED or one.is_stuck for one in self.waits_for)

    @property
    def missing(self) -> list[int]:
        if self.waited_in_vain:
            return []
        return [index for index in range(self.size) if index not in self.invalid and index not in self.results]

    @property
    def has_ended(self) -> bool:
        return not self.missing

    @property
    def is_going_on(self) -> bool:
        return not (self.has_ended or self.is_stopped or self.is_deleted)

    @property
    def failures(self) -> dict[int, str]:
        return {index: result for index, result in self.results.items() if isinstance(result, str)}

    @property
    def outputs(self) -> list[str]:
        results = [self.results[index] for index in sorted(self.results)]
        return [output for result in results if not isinstance(result, str) for output in result]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Return succeeded, failed, invalid and remaining."""
        failed = len(self.failures)
        invalid = self.size if self.is_invalid else len(self.invalid)
        return len(self.results) - failed, failed, invalid, len(self.missing)

    @property
    def end(self) -> RunStatus | None:
        """Return the status it has ended with."""
        succeeded = self.counts[0]
        if self.is_invalid:
            return RunStatus.INVALID
        if not self.has_ended:
            return None
        if succeeded == self.size:
            return RunStatus.SUCCEEDED
        return RunStatus.PARTIAL_SUCCEEDED if succeeded else RunStatus.FAILED

    def first_indexes(self) -> range:
        return range(0, self.size, self.batch_size)

    def batch(self, first_index: int) -> range:
        return range(first_index, min(first_index + self.batch_size, self.size))

    def left_of(self, first_index: int) -> list[int]:
        return [index for index in self.missing if index in self.batch(first_index)]

    def suspicion(self, first_index: int) -> Suspicion:
        return self.suspicions.setdefault(first_index, Suspicion())

    def is_condemned(self, index: int) -> bool:
        """Whether so many processes died at an input that it is never to be executed again."""
        return any(one.index == index and one.deaths >= MAX_DEATHS for one in self.suspicions.values())

    # What is done to it.

    def take_in_hand(self, index: int, deaths: int) -> None:
        """An input is about to be executed with care."""
        self.suspicions[index - index % self.batch_size] = Suspicion(index, deaths)

    def lose(self, first_index: int) -> None:
        """The process that had a batch died, or was silent for longer than its lease."""
        suspicion = self.suspicion(first_index)
        if suspicion.index is not None or len(self.left_of(first_index)) == 1:
            suspicion.deaths += 1

    def record(self, lease: Lease, outcomes: Sequence[Outcome], *, clock: float) -> None:
        """A checkpoint of a batch is written."""
        for one in outcomes:
            index = lease.first_index + one.offset
            assert index in self.missing, f"a second result for input {index} of {self}"
            if one.retry_at is not None:
                self.retry_count += 1
                self.attempts[index] = one.attempt
                self.due_at[index] = clock + one.retry_at - one.finished_at
                continue
            self.attempts.pop(index, None)
            if one.error:
                self.results[index] = one.error["label"]
                self.told_failures.append((self.number * 100 + index, one.error["label"]))
                self.failures_in_row += 1
                self._check_blame(lease.first_index, index, one.error["label"])
            else:
                self.results[index] = tuple(line.decode().strip('"') for line in one.outputs or ())
        if outcomes:
            self.suspicions.pop(lease.first_index, None)
        if self.failures_in_row >= MAX_FAILURES and not self.counts[0] and self.missing:
            self.stop()
            self.stopped_by_itself = True
            self.ends.append(RunStatus.STOPPED)
        elif self.end:
            self.ends.append(self.end)

    def _check_blame(self, first_index: int, index: int, label: str) -> None:
        least = {"WORKER_LOST": MAX_DEATHS, "TIMEOUT": 1}.get(label, 0)
        suspicion = self.suspicion(first_index)
        if least:
            assert suspicion.deaths >= least, f"input {index} of {self} is not to blame: {suspicion}"
            assert suspicion.index in (index, None)

    def look(self) -> None:
        """It is asked whether it still waits for others."""
        if not self.is_stopped and any(one.is_deleted or one.is_invalid for one in self.waits_for):
            self.waited_in_vain = True
            self.ends.append(RunStatus.INVALID)
            self.waits_for.clear()
        self.waits_for = [one for one in self.waits_for if one.is_deleted or not one.is_met]

    def stop(self) -> None:
        self.epoch += 1
        self.is_stopped = True

    def go_on(self, again: Iterable[int]) -> None:
        """It is resumed; `again` are the failed inputs that run again."""
        again = list(again)
        for index in again:
            del self.results[index]
        self.epoch += 1
        self.generation += bool(again)
        self.is_stopped = self.stopped_by_itself = False
        self.told_before_cancel = None
        self.retry_count = self.failures_in_row = 0
        self.attempts.clear()
        self.suspicions.clear()

    def wanted(self, indexes: Collection[int], labels: Collection[str]) -> list[int]:
        """Return the failed inputs that a resume with these would run again."""
        return [
            index for index, label in self.failures.items()
            if (not indexes or index in indexes) and (not labels or label in labels)
        ]  # fmt: skip


@dataclass(eq=False)
class Held:
    """A batch as somebody claimed it, who may be late by now.

    `is_held` while the batch is leased to him. He is fenced out where its run was cancelled just as he claimed it.
    """

    number: int
    lease: Lease
    of: RunModel
    worker: str
    is_held: bool = True
    is_fenced_out: bool = False
    is_overdue: bool = False
    in_hand: int | None = None  # the offset that was written down
    checkpoints_left: int | None = None  # before its process dies

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))  # so Hypothesis tells it in a step

    def __str__(self) -> str:
        return f"lease_{self.number}_of_{self.of}"

    @property
    def is_valid(self) -> bool:
        """Whether he may record what he has done."""
        return self.is_held and not self.is_fenced_out

    def covers(self, index: int) -> bool:
        return index in self.of.batch(self.lease.first_index)

    def copy(self) -> Lease:
        values = {name: getattr(self.lease, name) for name in Lease.__slots__}
        done = DoneBits(self.lease.done.size, self.lease.done.packed())
        return Lease(**{**values, "done": done, "retries": dict(self.lease.retries)})


class World:
    """All runs and all who hold batches of them, or held them; and the limit that staff have set to the action."""

    def __init__(self) -> None:
        self.runs: list[RunModel] = []
        self.leases: list[Held] = []
        self.clock = 0.0  # seconds that have passed
        self.limit = "none"
        self.begun = 0  # inputs, since time has passed

    @property
    def existing(self) -> list[RunModel]:
        return [of for of in self.runs if not of.is_deleted]

    @property
    def is_open(self) -> bool:
        """Whether batches may be claimed, by the limit that staff have set."""
        match self.limit:
            case "paused":
                return False
            case "one batch at a time":
                return not self.held
            case "some inputs a minute":
                return not ActionGate.objects.filter(closed_until__gt=timezone.now()).exists()
        return True

    @property
    def going_on(self) -> list[RunModel]:
        return [of for of in self.runs if of.is_going_on]

    @property
    def at_rest(self) -> list[RunModel]:
        """Return those that have ended or are stopped, and the one that was deleted last."""
        return [of for of in self.existing if not of.is_going_on] + [of for of in self.runs if of.is_deleted][-1:]

    @property
    def valid(self) -> list[Held]:
        return [held for held in self.leases if held.is_valid]

    @property
    def held(self) -> list[Held]:
        return [held for held in self.leases if held.is_held]

    @property
    def late(self) -> list[Held]:
        """Return who lost a batch or let go of it, the last of them."""
        return [held for held in self.leases if not held.is_valid][-4:]
