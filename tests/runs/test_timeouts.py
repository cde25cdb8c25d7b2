"""Calls past their time limit end, and the others go on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from actions import action
from actions.models import Action
from runs.execution import ProcessStuck
from runs.models import Batch, BatchStatus, RunStatus
from tests.factories import Member, Number, counts, define, inputs_of, launch, numbers, outputs_of, reread, work

pytestmark = pytest.mark.django_db


def spin(_n: int) -> None:
    while True:
        pass


def doze(_n: int) -> None:
    time.sleep(20)


async def doze_async(_n: int) -> None:
    await asyncio.sleep(20)


def stubborn(_n: int) -> None:
    while True:
        with suppress(Exception):
            time.sleep(20)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("process", spin),
        ("process", doze),
        ("process", stubborn),
        ("threads", spin),
        ("async", spin),
        ("async", doze),
        ("async", doze_async),
    ],
)
def test_inputs_past_their_time_limit_fail_and_the_others_go_on(
    acme: Member, kind: str, body: Callable[[int], Any]
) -> None:
    define(kind, lambda n: body(n) if n in (1, 2) else n, timeout_s=0.15, concurrency=1 if kind == "process" else 4)
    run = launch("act", numbers(5), by=acme, batch_size=5)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (3, 2, 0, 0))
    assert outputs_of(run) == [0, 3, 4]
    for failed in inputs_of(run, statuses=["FAILED"]):
        assert failed["last_error"]["label"] == "TIMEOUT"
        assert failed["last_error"]["params"] == {"timeout_s": 0.15}


def test_a_generator_is_under_the_time_limit_too(acme: Member) -> None:
    @action("endless", timeout_s=0.1)
    def endless(input: Number) -> Iterator[int]:
        if input.n == 0:
            while True:
                time.sleep(0.01)
                yield 1
        yield 2

    run = launch("endless", numbers(2), by=acme)
    work()
    assert [(one["last_error"] or {}).get("label") for one in inputs_of(run)] == ["TIMEOUT", None]
    assert outputs_of(run) == [2]


def test_a_thread_that_nothing_can_end_gives_its_process_up(acme: Member) -> None:
    released = threading.Event()

    def body(n: int) -> int:
        if n == 1:
            released.wait(30)
        return n

    define("threads", body, timeout_s=0.1, concurrency=2)
    run = launch("act", numbers(6), by=acme, batch_size=6)
    try:
        with pytest.raises(ProcessStuck):
            work()
    finally:
        released.set()
    assert inputs_of(run)[1]["last_error"]["label"] == "TIMEOUT"
    assert Batch.objects.get(run=run).status in (BatchStatus.READY, BatchStatus.DONE)
    work()  # the process that takes its place
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (5, 1, 0, 0))


def test_staff_can_lower_the_time_limit(acme: Member) -> None:
    define("process", doze, timeout_s=60)
    run = launch("act", numbers(1), by=acme)
    Action.objects.filter(name="act").update(timeout_s=0.1)
    work()
    assert inputs_of(run)[0]["last_error"]["params"] == {"timeout_s": 0.1}
