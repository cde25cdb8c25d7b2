"""Chaos: faults on a seeded schedule over an installation of real processes, while callers go on launching.

Nobody helps it: processes that end are started again, as any supervisor does, and that is all. In the end every run
that was accepted has ended, with one right result for every input, callbacks have told the same, and a report says what
was done to what effect.

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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from tests.system.callbacks import have_arrived, secret_of
from tests.system.callers import UNANSWERED, Answer, Launcher, LiveCaller
from tests.system.faults import DATABASE, PROCESS_KINDS, STORE_KINDS, Kind, Steps
from tests.system.installation import ENDED, Execution, Installation
from tests.system.invariants import callback_violations, picture, violations
from tests.system.receiver import Receiver, badly
from tests.system.report import ANSWER_S, IN_FLIGHT, INPUT_S, Effect, Report
from tests.system.schedule import SMALL, Fault, Plan, make_plan

ACTION = "square-slowly"
LEASE_S = 3
LIVE_EVERY_S = 0.5
TICK_S = 0.02
SLACK_S = 2.0  # beyond the time that an answer may take, for a machine that has better to do
DRAIN_S = 150.0  # for what is left when the last fault is over
QUIET_S = 2.0 * LEASE_S

ENVIRONMENT = {"RUNYARD_LEASE_SECONDS": str(LEASE_S)}


# --- Doing it


def unleash(
    plan: Plan, installation: Installation, *, say: Callable[[str], None] = lambda _: None, quiet_s: float = QUIET_S
) -> Report:
    """Bring the plan's faults over the installation while callers go on, wait for the end, and say what happened.

    In the end nothing may change for `quiet_s`.
    """
    with Receiver(badly, secret=secret_of(installation)) as receiver:
        return _unleash(plan, installation, receiver, say=say, quiet_s=quiet_s)


def _unleash(
    plan: Plan, installation: Installation, receiver: Receiver, *, say: Callable[[str], None], quiet_s: float
) -> Report:
    url, key = installation.client.url, installation.key
    report = Report(plan, datetime.now(UTC))
    launcher = Launcher(
        url, key, plan.launches, action=ACTION, make_input=_input, make_callback=_callback_to(receiver),
        name=report.name,
    )  # fmt: skip
    live = LiveCaller(url, key, action=ACTION, make_input=_input, every_s=LIVE_EVERY_S)
    launcher.start()
    live.start()
    try:
        bring_about(plan, installation, report, say)
        tend(installation, lambda: launcher.is_done, DRAIN_S)
        live.end()
        if not launcher.is_done:
            report.wrong.append(f"only {len(launcher.accepted)} of {len(plan.launches)} launches were accepted")
        runs = [{"uid": uid} for uid in launcher.accepted]
        tend(installation, lambda: _have_ended(installation, runs), DRAIN_S)
        waiting = list(launcher.calling_back)
        tend(installation, lambda: _have_been_told(installation, receiver, waiting), DRAIN_S)
    finally:
        launcher.end()
        live.end()
    report.launches, report.live_calls = launcher.answers, live.answers
    _judge(installation, report, launcher, live)
    _judge_callbacks(installation, report, launcher, receiver)
    _judge_quiet(
        installation, report, receiver, max(launcher.accepted, key=lambda uid: len(launcher.accepted[uid])), quiet_s
    )
    return report


def _input(number: int) -> dict[str, Any]:
    return {"number": number, "seconds": INPUT_S, "custom_data": {"n": number}}


def _callback_to(receiver: Receiver) -> Callable[[int, int], Any]:
    """Every other small run calls back about each of its inputs, the large ones about what was recorded together."""

    def callback(place: int, count: int) -> Any:
        if count > SMALL:
            return {"url": receiver.url, "per": "batch"}
        return {"url": receiver.url} if place % 2 else None

    return callback


def bring_about(plan: Plan, installation: Installation, report: Report, say: Callable[[str], None]) -> None:
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


def tend(installation: Installation, is_done: Callable[[], bool], seconds: float) -> None:
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


def _have_been_told(installation: Installation, receiver: Receiver, runs: list[str]) -> bool:
    """Whether all callbacks of `runs` have arrived, leaving those in the list of which some have not."""
    runs[:] = [uid for uid in runs if not have_arrived(installation, receiver, uid)]
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


def _judge_callbacks(installation: Installation, report: Report, launcher: Launcher, receiver: Receiver) -> None:
    report.callbacks = sum(len(receiver.arrivals(uid)) for uid in launcher.calling_back)
    report.callback_requests, report.callback_doubles = receiver.requests, receiver.doubles
    for uid in launcher.calling_back:
        report.wrong += callback_violations(installation, uid, launcher.accepted[uid], receiver)
    report.wrong += receiver.wrong


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


def _judge_quiet(installation: Installation, report: Report, receiver: Receiver, run_uid: str, seconds: float) -> None:
    def look() -> Any:
        return picture(installation, run_uid), len(installation.all_executions()), receiver.requests

    before = look()
    time.sleep(seconds)
    if before != look():
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
