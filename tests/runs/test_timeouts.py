"""Calls past their time limit end, and the others go on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError, connection

from actions import action
from actions.models import Action
from runs import checkpoint, execution
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


@pytest.mark.django_db(transaction=True)
def test_a_query_past_the_time_limit_spoils_neither_the_next_input_nor_the_checkpoint(acme: Member) -> None:
    @action("queries", timeout_s=0.3)
    def queries(input: Number) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [30 if input.n == 1 else 0])
        return input.n

    run = launch("queries", numbers(4), by=acme, batch_size=4)
    work()
    assert counts(run) == (3, 1, 0, 0)
    assert [one["status"] for one in inputs_of(run)] == ["SUCCEEDED", "FAILED", "SUCCEEDED", "SUCCEEDED"]
    assert inputs_of(run)[1]["last_error"]["label"] == "TIMEOUT"


def test_a_coroutine_deaf_to_its_cancellation_gives_its_process_up(acme: Member) -> None:
    @action("deaf", timeout_s=0.2, concurrency=4)
    async def deaf(input: Number) -> int:
        while input.n == 1:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        return input.n

    run = launch("deaf", numbers(4), by=acme, batch_size=4)
    with pytest.raises(ProcessStuck):
        work()
    assert counts(run) == (3, 1, 0, 0)
    assert inputs_of(run)[1]["last_error"]["label"] == "TIMEOUT"


def test_a_task_that_a_call_has_made_may_not_hold_the_loop_either(acme: Member) -> None:
    async def spin_below() -> None:
        while True:
            pass

    @action("nested", timeout_s=0.2, concurrency=4)
    async def nested(input: Number) -> int:
        if input.n == 1:
            await asyncio.wait_for(spin_below(), 60)
        return input.n

    run = launch("nested", numbers(4), by=acme, batch_size=4)
    work()
    assert counts(run) == (3, 1, 0, 0)
    assert inputs_of(run)[1]["last_error"]["label"] == "TIMEOUT"


def test_a_stuck_thread_gives_its_process_up_although_recording_failed(
    acme: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    @action("held", timeout_s=0.1, concurrency=2)
    def held(input: Number) -> int:
        released.wait(30)
        return input.n

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("the database is away")

    launch("held", numbers(1), by=acme)
    monkeypatch.setattr(checkpoint, "write", fail)
    try:
        with pytest.raises(ProcessStuck):
            execution.execute_slice()
    finally:
        released.set()
