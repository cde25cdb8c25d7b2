"""Chaos: faults on a seeded schedule over an installation of real processes, while callers go on launching.

Nobody helps it: processes that end are started again, as any supervisor does, and that is all. In the end every run
that was accepted has ended, with one right result for every input, and a report says what was done to what effect.

`make chaos` runs the long version. It prints its seed; CHAOS_SEED=<seed> does the same again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from tests.system.callers import UNANSWERED, Answer, Launch, Launcher, LiveCaller
from tests.system.faults import DATABASE, PROCESS_KINDS, STORE_KINDS, Kind, Steps
from tests.system.installation import ENDED, Execution, Installation
from tests.system.invariants import picture, violations

ACTION = "square-slowly"
INPUT_S = 0.02
CHECKPOINT_S = 1.0  # of runs.execution, which nothing here can import: this is no Django process
IN_FLIGHT = int(CHECKPOINT_S / INPUT_S) + 1
"""How many inputs a process executes at most between two checkpoints: each takes INPUT_S or longer."""
LEASE_S = 3
LIVE_EVERY_S = 0.5
LARGE_RUNS, SMALL = 3, 12
AFTER_S = 3.0  # there are launches for so long after the last fault, which tell when things work again
TICK_S = 0.02
ANSWER_S, SLACK_S = 3.0, 2.0  # within which a launch is answered, and for a machine that has better to do
DRAIN_S = 150.0  # for what is left when the last fault is over
QUIET_S = 2.0 * LEASE_S

ENVIRONMENT = {"RUNYARD_LEASE_SECONDS": str(LEASE_S)}


# --- The plan


@dataclass(frozen=True)
class Fault:
    """What is done to whom, so many seconds after the beginning."""

    at_s: float
    kind: Kind
    victim: str
    number: int


@dataclass(frozen=True)
class Plan:
    """All that the seed decides."""

    seed: int
    faults: tuple[Fault, ...]
    launches: tuple[Launch, ...]


def make_plan(seed: int, kinds: Sequence[Kind], *, faults: int, every_s: float, inputs: int, launches: int) -> Plan:
    """Return a schedule of `faults`, each kind as often as the others, and of launches of `inputs` in all.

    Small runs come all the time, and tell when things work again; a few large ones keep the workers at work.
    """
    chance = random.Random(seed)
    schedule = tuple(_schedule(chance, kinds, faults, every_s))
    until_s = max(fault.at_s for fault in schedule) + AFTER_S
    small = [Launch(place * until_s / launches, chance.randint(1, SMALL)) for place in range(launches)]
    left, large = inputs - sum(one.count for one in small), []
    for place in range(LARGE_RUNS):
        large.append(Launch(place * until_s / LARGE_RUNS, count := left // (LARGE_RUNS - place)))
        left -= count
    return Plan(seed, schedule, tuple(sorted([*large, *small], key=lambda launch: launch.at_s)))


def make_plan_of_one(kind: Kind, victim: str) -> Plan:
    """Return the plan of one fault in the middle of a run, and of small runs launched all the while."""
    small = [Launch(place / 2, 1) for place in range(2 * int(kind.rest_s + AFTER_S))]
    return Plan(0, (Fault(1.0, kind, victim, 0),), (Launch(0.0, 600), *small))


def _schedule(chance: random.Random, kinds: Sequence[Kind], count: int, every_s: float) -> Iterator[Fault]:
    """Yield faults; nobody is hit again before he has had the time to get up."""
    free_at: dict[str, float] = {}
    waiting: list[Kind] = []
    for place in range(count):
        waiting = waiting or chance.sample(kinds, len(kinds))
        at_s = every_s * (place + chance.random() / 2)
        choices = [(kind, victim) for kind in waiting for victim in chance.sample(kind.victims, len(kind.victims))]
        # The first whose victim is up again by then, or will be soonest.
        kind, victim = min(choices, key=lambda one: max(free_at.get(one[1], 0.0), at_s))
        at_s = max(free_at.get(victim, 0.0), at_s)
        waiting.remove(kind)
        free_at[victim] = at_s + kind.rest_s
        yield Fault(at_s, kind, victim, chance.randrange(1_000))


# --- What happened


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


# --- Doing it


def unleash(
    plan: Plan, installation: Installation, *, say: Callable[[str], None] = lambda _: None, quiet_s: float = QUIET_S
) -> Report:
    """Bring the plan's faults over the installation while callers go on, wait for the end, and say what happened.

    In the end nothing may change for `quiet_s`.
    """
    url, key = installation.client.url, installation.key
    report = Report(plan, datetime.now(UTC))
    launcher = Launcher(url, key, plan.launches, action=ACTION, make_input=_input, name=report.name)
    live = LiveCaller(url, key, action=ACTION, make_input=_input, every_s=LIVE_EVERY_S)
    launcher.start()
    live.start()
    try:
        _bring_about(plan, installation, report, say)
        _tend(installation, lambda: launcher.is_done, DRAIN_S)
        live.end()
        if not launcher.is_done:
            report.wrong.append(f"only {len(launcher.accepted)} of {len(plan.launches)} launches were accepted")
        runs = [{"uid": uid} for uid in launcher.accepted]
        _tend(installation, lambda: _have_ended(installation, runs), DRAIN_S)
    finally:
        launcher.end()
        live.end()
    report.launches, report.live_calls = launcher.answers, live.answers
    _judge(installation, report, launcher, live)
    _judge_quiet(installation, report, max(launcher.accepted, key=lambda uid: len(launcher.accepted[uid])), quiet_s)
    return report


def _input(number: int) -> dict[str, Any]:
    return {"number": number, "seconds": INPUT_S}


def _bring_about(plan: Plan, installation: Installation, report: Report, say: Callable[[str], None]) -> None:
    """Begin each fault at its time, or where the machine is slow when its victim is up and has the last one over."""
    began = time.monotonic()
    waiting = deque(sorted(plan.faults, key=lambda fault: fault.at_s))
    going_on: list[tuple[float, Effect, Steps]] = []
    while waiting or going_on:
        installation.revive()
        now = time.monotonic()
        hit = {effect.fault.victim for _, effect, _ in going_on}
        down = {name for name in installation.names if not installation.is_up(name)}
        if waiting and began + waiting[0].at_s <= now and waiting[0].victim not in hit | down:
            effect, steps = _begin(waiting.popleft(), installation, report, say)
            going_on.append((now, effect, steps))
        for one in [one for one in going_on if one[0] <= now]:
            going_on.remove(one)
            _, effect, steps = one
            wait_s = next(steps, None)
            effect.ended_at = datetime.now(UTC)
            if wait_s is not None:
                going_on.append((time.monotonic() + wait_s, effect, steps))
        time.sleep(TICK_S)


def _begin(
    fault: Fault, installation: Installation, report: Report, say: Callable[[str], None]
) -> tuple[Effect, Steps]:
    effect = Effect(fault, datetime.now(UTC))
    report.effects.append(effect)
    say(f"{report.second_of(effect.began_at):7.1f} s  {fault.kind.name} ({fault.victim})")
    return effect, fault.kind.act(installation, fault.victim, fault.number)


def _tend(installation: Installation, is_done: Callable[[], bool], seconds: float) -> None:
    """Start again what ends, until `is_done()` or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for _ in range(10):
            installation.revive()
            time.sleep(TICK_S)
        with contextlib.suppress(requests.ConnectionError, requests.Timeout, KeyError):  # the web may still be dead
            if is_done():
                return


def _have_ended(installation: Installation, runs: list[dict[str, Any]]) -> bool:
    """Whether all of `runs` have ended, leaving those in the list that have not."""
    runs[:] = [run for run in runs if installation.status(run["uid"])["status"] not in ENDED]
    return not runs


# --- Judging it


def _judge(installation: Installation, report: Report, launcher: Launcher, live: LiveCaller) -> None:
    client, wrong = installation.client, report.wrong
    listed = {run["uid"]: run for run in client.pages(f"/v1/runs?tag={report.name}&limit=100")}
    report.runs = len(listed)
    if listed.keys() != launcher.accepted.keys():
        wrong.append(f"{len(listed)} runs are there, {len(launcher.accepted)} launches were accepted")
    for uid, numbers in launcher.accepted.items():
        wrong += violations(installation, uid, numbers)
    calls = client.pages(f"/v1/runs?execution_mode=LIVE&created_after={report.began_at:%Y-%m-%dT%H:%M:%SZ}&limit=100")
    wrong += [f"live call {run['uid']} is {run['status']}" for run in calls if run["status"] not in ENDED]
    wrong += [f"live {n}: {out}" for n, out in live.outputs.items() if out != {"number": n, "square": n * n}]
    _judge_executions(installation, report, launcher)
    _measure_recoveries(report, list(listed.values()))
    _judge_answers(report)


def _judge_executions(installation: Installation, report: Report, launcher: Launcher) -> None:
    made = [one for one in installation.all_executions() if one.run_uid in launcher.accepted]
    report.executions = Counter((one.run_uid, one.index) for one in made)
    report.at_once = max(map(len, _in_vain_at_once(made)), default=0)
    if report.again > report.again_at_most:
        report.wrong.append(f"{report.again} executions were in vain, of at most {report.again_at_most}")
    if report.at_once > IN_FLIGHT:
        report.wrong.append(f"a process executed {report.at_once} inputs in vain, of at most {IN_FLIGHT} in flight")


def _in_vain_at_once(made: Sequence[Execution]) -> Iterator[list[Execution]]:
    """Yield what a process executed of a batch, one input after the other, and others executed again later."""
    last = {(one.run_uid, one.index): one for one in made}
    by_process: dict[int, list[Execution]] = {}
    for one in made:
        by_process.setdefault(one.pid, []).append(one)
    for of_process in by_process.values():
        lost: list[Execution] = []
        for one in of_process:
            if lost and (one.run_uid, one.index) != (lost[-1].run_uid, lost[-1].index + 1):
                yield lost
                lost = []
            if last[one.run_uid, one.index] is not one:
                lost.append(one)
            elif lost:
                yield lost
                lost = []
        yield lost


def _measure_recoveries(report: Report, runs: Sequence[dict[str, Any]]) -> None:
    """Note for each fault how soon a run had ended that was launched after its beginning."""
    times = [
        (datetime.fromisoformat(run["created_at"]), datetime.fromisoformat(run["finished_at"]))
        for run in runs
        if run["finished_at"]
    ]
    for effect in report.effects:
        ends = [finished for created, finished in times if created > effect.began_at]
        effect.works_again_s = (min(ends) - effect.began_at).total_seconds() if ends else None


def _judge_answers(report: Report) -> None:
    # While the web starts, whoever connects already waits for it to answer.
    gone = _times(report, lambda kind: kind.name == "kill the web")
    away = _times(report, lambda kind: kind.victims == DATABASE)
    for answer in report.launches:
        said = f"a launch at {report.second_of(answer.at):.1f} s was answered {answer.status}: {answer.text}"
        allowed = {
            202: True,
            503: answer.retry_after is not None and _is_within(answer, away),
            409: answer.retry_after is not None and _is_within(answer, gone + away),  # the first try is in flight
            UNANSWERED: _is_within(answer, gone),
        }
        if not allowed.get(answer.status, False):
            report.wrong.append(said)
        elif answer.took_s > ANSWER_S + SLACK_S and not _is_within(answer, gone):
            report.wrong.append(f"after {answer.took_s:.1f} s {said}")
    for answer in report.live_calls:
        if answer.status not in (200, 424, 503, 504, UNANSWERED):
            report.wrong.append(f"a live call was answered {answer.status}: {answer.text}")


def _times(report: Report, is_meant: Callable[[Kind], bool]) -> list[tuple[datetime, datetime]]:
    """Return when a kind of fault was felt: from its beginning to the first launch that was accepted after it."""
    accepted = [answer.at for answer in report.launches if answer.status == 202]
    felt = []
    for effect in report.effects:
        if is_meant(effect.fault.kind) and effect.ended_at:
            after = (at for at in accepted if at > effect.ended_at)
            felt.append((effect.began_at, next(after, datetime.max.replace(tzinfo=UTC))))
    return felt


def _is_within(answer: Answer, times: Sequence[tuple[datetime, datetime]]) -> bool:
    ended_at = answer.at + timedelta(seconds=answer.took_s)
    return any(began <= ended_at and answer.at <= ended for began, ended in times)


def _judge_quiet(installation: Installation, report: Report, run_uid: str, seconds: float) -> None:
    before = picture(installation, run_uid), len(installation.all_executions())
    time.sleep(seconds)
    if before != (picture(installation, run_uid), len(installation.all_executions())):
        report.wrong.append(f"{run_uid} changed after its end")


# --- The long version


def seed(otherwise: int) -> int:
    """Return the seed that CHAOS_SEED names, else another."""
    return int(os.environ.get("CHAOS_SEED") or otherwise)


def main() -> int:
    """Run the long version and return 0 only if nothing was wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    plan = make_plan(
        seed(random.SystemRandom().randrange(1_000_000)),
        PROCESS_KINDS + STORE_KINDS,
        faults=100,
        every_s=2.0,
        inputs=20_000,
        launches=200,
    )
    print(f"CHAOS_SEED={plan.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="runyard-chaos-", ignore_cleanup_errors=True) as folder:
        installation = Installation(Path(folder), environment=ENVIRONMENT, second_worker=True, durable=True)
        try:
            report = unleash(plan, installation, say=lambda line: print(line, flush=True))
            print(f"\n{report}")
            if report.wrong:
                print(installation.logs(lines=100))
        finally:
            installation.close()
    return 1 if report.wrong else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
