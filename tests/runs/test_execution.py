"""What a worker does with a batch: slices, batches that are lost, and what they cost."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pydantic import BaseModel

from actions import ActionDefinition, action, registry
from runs import checkpoint, dispatch, execution
from runs.models import Batch, BatchStatus, ResultChunk, Run, RunProgress, RunStatus
from runs.watchdog import Watchdog
from tests.factories import Member, Number, counts, define, inputs_of, launch, numbers, reread, work

pytestmark = pytest.mark.django_db


def test_a_slice_ends_between_inputs_and_the_rest_is_ready_again(acme: Member) -> None:
    define("process", lambda n: time.sleep(0.03))
    run = launch("act", numbers(10), by=acme, batch_size=10)
    assert execution.execute_slice(slice_s=0.05)
    batch = Batch.objects.get(run=run)
    assert batch.status == BatchStatus.READY
    assert 1 <= reread(run).progress.succeeded_count < 10
    assert reread(run).status == RunStatus.RUNNING
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.SUCCEEDED, (10, 0, 0, 0))


def test_nothing_to_do(db: None) -> None:
    assert execution.execute_slice() is False


def test_an_action_this_process_does_not_have_is_left_for_another(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launch("double", numbers(1), by=acme)
    known = dict(registry._definitions)
    known.pop("double")
    with monkeypatch.context() as patch:
        patch.setattr(registry, "_definitions", known)
        assert execution.execute_slice() is False
    assert reread(run).status == RunStatus.QUEUED
    assert execution.execute_slice() is True
    assert reread(run).status == RunStatus.SUCCEEDED


def test_parameters_that_no_longer_fit_fail_the_inputs(acme: Member) -> None:
    class Old(BaseModel):
        a: int = 1

    class New(BaseModel):
        b: int

    def body(input: Number, *, parameters: Old) -> int:
        return 1

    action("changing")(body)
    run = launch("changing", numbers(3), by=acme)
    body.__annotations__["parameters"] = New
    action("changing")(body)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.FAILED, (0, 3, 0, 0))
    assert {one["last_error"]["label"] for one in inputs_of(run)} == {"BAD_PARAMETERS"}


def test_an_input_that_no_longer_fits_fails(acme: Member) -> None:
    class Stricter(BaseModel):
        n: int
        m: int

    def body(input: Number) -> int:
        return 1

    action("changing")(body)
    run = launch("changing", numbers(1), by=acme)
    body.__annotations__["input"] = Stricter
    action("changing")(body)
    work()
    error = inputs_of(run)[0]["last_error"]
    assert (error["label"], error["scope"]) == ("BAD_INPUT", "input")
    assert error["validation_errors"] == [{"field": "m", "reason": "Field required"}]


def test_a_run_taken_away_while_it_executes_records_nothing(acme: Member) -> None:
    @action("taken")
    def taken(input: Number) -> int:
        RunProgress.objects.update(epoch=5)
        return 1

    run = launch("taken", numbers(3), by=acme, batch_size=3)
    execution.execute_slice()
    assert counts(run) == (0, 0, 0, 3)
    assert not ResultChunk.objects.filter(run=run).exists()


def define_endless(kind: str) -> list[int]:
    """Define `act`, which ends by itself on 0 alone. Returns which of its calls have ended, as they do."""
    ended = []

    async def on_loop(n: int) -> None:
        try:
            await asyncio.sleep(30 if n else 0)
        finally:
            ended.append(n)

    def in_thread(n: int) -> None:
        try:
            while n:
                time.sleep(0.01)
        finally:
            ended.append(n)

    define(kind, on_loop if kind == "async" else in_thread, concurrency=2, timeout_s=40)
    return ended


@pytest.mark.parametrize("kind", ["threads", "async"])
def test_what_is_in_hand_is_ended_when_the_batch_is_lost(acme: Member, kind: str) -> None:
    ended = define_endless(kind)
    run = launch("act", numbers(2), by=acme, batch_size=2)
    lease = dispatch.claim(worker="w", actions=["act"], now=timezone.now())
    assert lease is not None
    Batch.objects.update(attempt=99)
    execution.execute(lease, stop_at=time.monotonic())
    assert sorted(ended) == [0, 1]
    assert counts(run) == (0, 0, 0, 2)


@pytest.mark.parametrize("kind", ["threads", "async"])
def test_what_is_in_hand_is_ended_when_recording_fails(
    acme: Member, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = define_endless(kind)

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(checkpoint, "write", away)
    launch("act", numbers(2), by=acme, batch_size=2)
    with pytest.raises(OperationalError):
        execution.execute_slice()
    assert sorted(ended) == [0, 1]


def test_the_whole_batch_takes_few_queries_whatever_its_size(
    acme: Member, double: ActionDefinition, django_assert_max_num_queries: Any
) -> None:
    run = launch("double", numbers(1_000), by=acme, batch_size=1_000)
    lease = dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    assert lease is not None
    with django_assert_max_num_queries(5):
        execution.execute(lease, stop_at=time.monotonic() + 5)
    assert counts(run) == (1_000, 0, 0, 0)


def test_each_input_that_takes_time_is_given_time_by_lease_and_watchdog(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    extended: list[float] = []
    noted: list[object] = []
    monkeypatch.setattr(execution.keeper, "extend", extended.append)
    monkeypatch.setattr(Watchdog, "note_start", lambda self: noted.append(self))
    define("process", lambda n: time.sleep(execution.STARTS_TOLD_S + 0.01), timeout_s=7)
    launch("act", numbers(4), by=acme, batch_size=4)
    work()
    assert len(extended) == len(noted) == 4
    assert min(extended) > 7  # its time limit, with time to end after it
    launch("double", numbers(1_000), by=acme, batch_size=1_000)
    work()
    assert len(extended) < 504  # short ones share it


def test_times_of_an_input_are_its_own(acme: Member) -> None:
    define("process", lambda n: time.sleep(0.02 * n))
    run = launch("act", numbers(3), by=acme, batch_size=3)
    work()
    shown = inputs_of(run)
    took = [(one["finished_at"] - one["started_at"]).total_seconds() for one in shown]
    assert took[2] >= 0.039
    assert shown[0]["started_at"] <= shown[1]["started_at"] <= shown[2]["started_at"]
    assert datetime(2020, 1, 1, tzinfo=UTC) < shown[0]["started_at"]
    assert all(one["updated_at"] == one["finished_at"] for one in shown)
    assert Run.objects.get().started_at is not None
