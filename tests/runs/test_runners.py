"""Runners step by step: what is started when, what `stop` and `abandon` leave, and how time limits interrupt."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel

from actions import ActionDefinition, action, registry
from actions.limits import Limits
from runs.calls import Call
from runs.checkpoint import Outcome
from runs.runners import AsyncRunner, Runner, SequentialRunner, ThreadRunner, Work, runner_for
from runs.timeouts import InputTimeout, alarm


class Number(BaseModel):
    n: int


def call_of(definition: ActionDefinition, *, timeout_s: float = 30, concurrency: int = 1, attempts: int = 1) -> Call:
    limits = Limits(timeout_s, attempts, concurrency, None, None)
    return Call(definition, limits, parameters=None, max_results=None, run_uid=uuid.uuid4(), first_index=0)


def make(
    function: Callable[..., Any], *, count: int = 4, on_start: Callable[[], None] = lambda: None, **limits: Any
) -> Runner:
    registry._definitions.pop("act", None)
    function.__annotations__ = {"input": Number}
    work = [Work(n, b'{"n":%d}' % n, 1) for n in range(count)]
    return runner_for(call_of(action("act")(function), **limits), work, on_start=on_start)


def soon(seconds: float = 5) -> float:
    return time.monotonic() + seconds


def run_out(runner: Runner, *, step_s: float = 0.5) -> list[Outcome]:
    outcomes = []
    for _ in range(100):
        if runner.is_finished:
            return sorted(outcomes, key=lambda one: one.offset)
        outcomes += runner.step(soon(step_s))
    raise AssertionError("the runner does not end")


def labels(outcomes: list[Outcome]) -> list[str | None]:
    return [one.error["label"] if one.error else None for one in outcomes]


def plain(input):  # type: ignore[no-untyped-def]
    return input.n


async def coroutine(input):  # type: ignore[no-untyped-def]
    await asyncio.sleep(0)
    return input.n


@pytest.mark.parametrize(
    ("function", "concurrency", "kind"),
    [(plain, 1, SequentialRunner), (plain, 3, ThreadRunner), (coroutine, 1, AsyncRunner), (coroutine, 3, AsyncRunner)],
)
def test_the_runner_fits_the_action(function: Callable[..., Any], concurrency: int, kind: type[Any]) -> None:
    started: list[int] = []
    runner = make(function, concurrency=concurrency, on_start=lambda: started.append(1))
    assert isinstance(runner, kind)
    assert not runner.is_finished
    outcomes = run_out(runner)
    assert [one.outputs for one in outcomes] == [[b"0"], [b"1"], [b"2"], [b"3"]]
    assert len(started) == 4
    assert not runner.is_stuck


@pytest.mark.parametrize(("function", "concurrency"), [(plain, 1), (plain, 3), (coroutine, 3)])
def test_without_work_it_is_finished(function: Callable[..., Any], concurrency: int) -> None:
    runner = make(function, concurrency=concurrency, count=0)
    assert runner.is_finished
    assert runner.step(soon()) == []


def test_a_step_of_the_sequential_one_does_at_least_one_input_and_looks_at_the_clock() -> None:
    runner = make(plain)
    assert len(runner.step(0.0)) == 1
    runner.stop()
    assert runner.is_finished
    assert runner.step(soon()) == []


@pytest.mark.parametrize("concurrency", [2, 3])
def test_stop_starts_no_more_and_lets_those_in_hand_end(concurrency: int) -> None:
    started: list[int] = []
    go_on = threading.Event()

    def body(input):  # type: ignore[no-untyped-def]
        started.append(input.n)
        go_on.wait(10)
        return input.n

    runner = make(body, count=9, concurrency=concurrency)
    assert runner.step(soon(0.05)) == []
    runner.stop()
    assert not runner.is_finished
    go_on.set()
    assert [one.offset for one in run_out(runner)] == sorted(started) == list(range(concurrency))


def test_stop_of_the_async_one() -> None:
    started: list[int] = []

    async def body(input):  # type: ignore[no-untyped-def]
        started.append(input.n)
        await asyncio.sleep(0.15)
        return input.n

    runner = make(body, count=9, concurrency=2)
    assert runner.step(soon(0.02)) == []
    runner.stop()
    assert [one.offset for one in run_out(runner)] == [0, 1]
    assert started == [0, 1]


def test_large_outputs_end_a_step_early(monkeypatch: pytest.MonkeyPatch) -> None:
    from runs import runners

    monkeypatch.setattr(runners, "MAX_BYTES_IN_HAND", 5_000)

    def body(input):  # type: ignore[no-untyped-def]
        return "x" * 2_000

    for concurrency, at_most in ((1, 3), (2, 4)):
        runner = make(body, count=9, concurrency=concurrency)
        assert 1 <= len(runner.step(soon())) <= at_most
        assert len(run_out(runner)) >= 5


def test_an_action_that_took_the_alarm_for_itself_loses_it_with_the_next_batch() -> None:
    def take_it(input):  # type: ignore[no-untyped-def]
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def doze(input):  # type: ignore[no-untyped-def]
        time.sleep(20)

    assert labels(run_out(make(take_it, count=1))) == [None]
    assert labels(run_out(make(doze, count=1, timeout_s=0.1))) == ["TIMEOUT"]


def test_the_alarm_is_off_after_every_call() -> None:
    run_out(make(plain))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    run_out(make(coroutine, concurrency=2))
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_alarm_that_may_not_raise_lets_the_call_go_on() -> None:
    asked: list[int] = []

    def no() -> bool:
        asked.append(1)
        return False

    alarm.install()
    alarm.arm(0.05, no)
    time.sleep(0.1)
    alarm.cancel()
    assert asked == [1]


def test_calls_that_share_a_timer_have_each_their_own_limit() -> None:
    alarm.install()
    assert alarm.call(0.1, lambda: "short") == "short"
    assert alarm.call(5, lambda: time.sleep(0.2)) is None  # the first one's timer went off in it
    with pytest.raises(InputTimeout):
        alarm.call(0.1, lambda: time.sleep(10))
    assert alarm.call(0.1, lambda: "short") == "short"
    with pytest.raises(InputTimeout):
        alarm.call(0.3, lambda: time.sleep(10))
    alarm.cancel()


def test_what_comes_after_a_call_has_no_limit() -> None:
    alarm.install()
    assert alarm.call(0.05, lambda: "short") == "short"
    time.sleep(0.06)  # its timer goes off here
    alarm.cancel()


def test_a_timer_that_an_action_stopped_is_set_anew() -> None:
    alarm.install()
    alarm.call(0.1, lambda: signal.setitimer(signal.ITIMER_REAL, 0))
    time.sleep(0.11)
    with pytest.raises(InputTimeout):
        alarm.call(0.2, lambda: time.sleep(10))
    alarm.cancel()


def test_an_alarm_interrupts_a_call_once() -> None:
    alarm.install()
    with pytest.raises(InputTimeout):
        alarm.call(0.05, lambda: time.sleep(10))
    time.sleep(0.06)
    assert alarm.call(5, lambda: "fine") == "fine"


def test_except_exception_does_not_hold_a_time_limit_up() -> None:
    def body(input):  # type: ignore[no-untyped-def]
        for _ in range(1_000):
            with suppress(Exception):
                time.sleep(10)

    assert labels(run_out(make(body, count=2, timeout_s=0.1))) == ["TIMEOUT", "TIMEOUT"]


def test_calls_that_hold_the_loop_one_after_the_other_are_each_interrupted() -> None:
    async def body(input):  # type: ignore[no-untyped-def]
        while input.n < 3:
            pass
        return input.n

    outcomes = run_out(make(body, count=5, concurrency=1, timeout_s=0.1), step_s=20)
    assert labels(outcomes) == ["TIMEOUT"] * 3 + [None] * 2


def test_a_call_that_holds_the_loop_costs_its_neighbours_no_more_than_the_wait() -> None:
    async def body(input):  # type: ignore[no-untyped-def]
        if input.n == 1:
            while True:
                pass
        await asyncio.sleep(0.01)
        return input.n

    outcomes = run_out(make(body, count=4, concurrency=4, timeout_s=1.0))
    assert labels(outcomes)[1] == "TIMEOUT"


def test_a_thread_past_its_limit_is_interrupted_and_its_place_used_again() -> None:
    def body(input):  # type: ignore[no-untyped-def]
        while input.n in (0, 1):
            time.sleep(0.001)
        return input.n

    runner = make(body, count=6, concurrency=2, timeout_s=0.15)
    assert labels(run_out(runner)) == ["TIMEOUT", "TIMEOUT", None, None, None, None]
    assert not runner.is_stuck


def test_a_thread_that_is_deaf_makes_the_runner_stuck() -> None:
    go_on = threading.Event()

    def body(input):  # type: ignore[no-untyped-def]
        if input.n == 0:
            go_on.wait(20)
        return input.n

    runner = make(body, count=30, concurrency=2, timeout_s=0.1)
    outcomes = []
    while not runner.is_finished:
        outcomes += runner.step(soon(0.05))
    go_on.set()
    assert runner.is_stuck
    assert outcomes[-1].offset == 0
    assert labels([one for one in outcomes if one.offset == 0]) == ["TIMEOUT"]


@pytest.mark.parametrize("concurrency", [2])
def test_abandon_ends_what_is_in_hand(concurrency: int) -> None:
    ended: list[int] = []

    def in_threads(input):  # type: ignore[no-untyped-def]
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.append(input.n)

    async def on_the_loop(input):  # type: ignore[no-untyped-def]
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(input.n)

    for function in (in_threads, on_the_loop):
        runner = make(function, count=9, concurrency=concurrency)
        runner.step(soon(0.05))
        runner.abandon()
        assert runner.is_finished
        assert sorted(ended) == [0, 1]
        ended.clear()
