"""What was done to an installation, to what effect, and what of that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.system.callers import Answer
from tests.system.faults import DATABASE
from tests.system.schedule import Fault, Plan

INPUT_S = 0.02
CHECKPOINT_S = 1.0  # of runs.execution, which nothing here can import: this may be no Django process
IN_FLIGHT = int(CHECKPOINT_S / INPUT_S) + 1
"""How many inputs a process executes at most between two checkpoints: each takes INPUT_S or longer."""
ANSWER_S = 3.0  # within which a launch is answered


@dataclass
class Effect:
    """A fault that was brought about. `lost` is how many executions may have been in vain because of it, at most."""

    fault: Fault
    began_at: datetime
    ended_at: datetime | None = None
    works_again_s: float | None = None

    @property
    def lost(self) -> int:
        """Of each process that it hit: what is executed between two checkpoints, and the input in hand.

        A database that is gone for a while fails one checkpoint after the other, so there its time counts as well.
        """
        assert self.ended_at is not None
        lasted_s = (self.ended_at - self.began_at).total_seconds() if self.fault.victim in DATABASE else 0.0
        return self.fault.kind.hits * (int(lasted_s / INPUT_S) + IN_FLIGHT)


@dataclass
class Report:
    """What was done, to what effect, and what of that is wrong."""

    plan: Plan
    began_at: datetime
    effects: list[Effect] = field(default_factory=list)
    launches: list[Answer] = field(default_factory=list)
    live_calls: list[Answer] = field(default_factory=list)
    runs: int = 0
    executions: Counter[tuple[str, int]] = field(default_factory=Counter)
    at_once: int = 0
    callbacks: int = 0
    callback_requests: int = 0
    callback_doubles: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What its runs are tagged with."""
        return f"chaos-{self.began_at.timestamp()}"

    @property
    def inputs(self) -> int:
        return len(self.executions)

    @property
    def again(self) -> int:
        """How many executions there were beyond each input's first."""
        return self.executions.total() - self.inputs

    @property
    def again_at_most(self) -> int:
        return sum(effect.lost for effect in self.effects)

    def second_of(self, at: datetime) -> float:
        return (at - self.began_at).total_seconds()

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for effect in self.effects:
            at_s = self.second_of(effect.began_at)
            works = f"works again after {_s(effect.works_again_s)}"
            yield f"{at_s:7.1f} s  {effect.fault.kind.name:<46} {effect.fault.victim:<19} {works}"
        kinds = Counter(effect.fault.kind.name for effect in self.effects)
        yield from (f"{count:4} x {name}" for name, count in sorted(kinds.items()))
        twice = [count for count in self.executions.values() if count > 1]
        yield f"seed {self.plan.seed}: {len(self.effects)} faults survived, of {len(kinds)} kinds"
        yield f"{self.runs} runs, {self.inputs:,} inputs executed"
        yield (
            f"{len(twice)} inputs executed more than once, up to {max(twice, default=1)} times:"
            f" {self.again} executions in vain, of at most {self.again_at_most:,}"
        )
        yield f"{self.at_once} of them at once at most, by a process that lost its batch: {IN_FLIGHT} may be in flight"
        yield (
            f"{self.callbacks:,} callbacks arrived by {self.callback_requests:,} requests,"
            f" of which {self.callback_doubles:,} brought what had come before"
        )
        slowest = max(self.effects, key=lambda effect: effect.works_again_s or 0.0, default=None)
        if slowest:
            yield f"slowest recovery {_s(slowest.works_again_s)}, after: {slowest.fault.kind.name}"
        yield f"launches: {_answers(self.launches)}"
        yield f"live calls: {_answers(self.live_calls)}"
        for answer in self.launches:
            if answer.status and answer.took_s > ANSWER_S:
                at_s = self.second_of(answer.at)
                yield f"a launch at {at_s:.1f} s was answered {answer.status} after {answer.took_s:.2f} s"
        yield from (f"WRONG: {one}" for one in self.wrong)


def _s(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.1f} s"


def _answers(answers: Sequence[Answer]) -> str:
    told = Counter(answer.status or "no answer" for answer in answers)
    slowest = max((answer.took_s for answer in answers if answer.status), default=0.0)
    counts = ", ".join(f"{count} x {status}" for status, count in sorted(told.items(), key=str))
    return f"{counts}; slowest answer {slowest:.2f} s"
