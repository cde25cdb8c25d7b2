"""Inputs that ask to be tried again: no worker is held, and their run waits with them."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from actions import Context, Retry, action
from runs import dispatch, execution, recovery
from runs.models import Batch, BatchStatus, RunStatus
from tests.factories import KINDS, Member, Number, counts, define, inputs_of, launch, numbers, outputs_of, reread, work

pytestmark = pytest.mark.django_db


def test_retry_frees_the_worker_and_comes_back_when_it_is_due(acme: Member) -> None:
    attempts: list[tuple[int, int]] = []

    @action("flaky", max_attempts=3)
    def flaky(input: Number, *, context: Context) -> int:
        attempts.append((input.n, context.attempt))
        if input.n == 1 and context.attempt < 3:
            raise Retry(after_s=600, reason="busy")
        return input.n

    run = launch("flaky", numbers(3), by=acme, batch_size=3)
    started = timezone.now()
    assert work() == 1
    run = reread(run)
    assert (run.status, counts(run), run.progress.retry_count) == (RunStatus.SCHEDULED, (2, 0, 0, 1), 1)
    assert started + timedelta(seconds=600) <= run.postponed_until <= timezone.now() + timedelta(seconds=600)
    waiting = inputs_of(run)[1]
    assert (waiting["status"], waiting["retry_count"], waiting["finished_at"]) == ("SCHEDULED", 1, None)
    assert [one["status"] for one in inputs_of(run)] == ["SUCCEEDED", "SCHEDULED", "SUCCEEDED"]

    recovery.sweep(now=started + timedelta(seconds=599))
    assert reread(run).status == RunStatus.SCHEDULED

    for _ in range(2):
        due = reread(run).postponed_until
        with time_machine.travel(due + timedelta(seconds=1)):
            recovery.sweep(now=timezone.now())
            assert (reread(run).status, reread(run).postponed_until) == (RunStatus.QUEUED, None)
            work()
    run = reread(run)
    assert (run.status, counts(run), run.progress.retry_count) == (RunStatus.SUCCEEDED, (3, 0, 0, 0), 2)
    assert attempts == [(0, 1), (1, 1), (2, 1), (1, 2), (1, 3)]
    assert [one["retry_count"] for one in inputs_of(run)] == [0, 2, 0]
    assert outputs_of(run) == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_retry_until_the_attempts_are_used_up(acme: Member, kind: str) -> None:
    def body(n: int) -> int:
        raise Retry(after_s=0, reason="still busy")

    define(kind, body, max_attempts=3)
    run = launch("act", numbers(2), by=acme, batch_size=2)
    for _ in range(5):
        work()
        recovery.sweep(now=timezone.now() + timedelta(seconds=1))
    run = reread(run)
    assert (run.status, counts(run), run.progress.retry_count) == (RunStatus.FAILED, (0, 2, 0, 0), 4)
    error = inputs_of(run)[0]["last_error"]
    assert error["label"] == "GENERIC_ERROR"
    assert error["message"] == "Failed after 3 of 3 attempts: still busy"
    assert inputs_of(run)[0]["retry_count"] == 2


def test_retry_waits_longer_each_time(acme: Member) -> None:
    @action("flaky", max_attempts=4)
    def flaky(input: Number) -> int:
        raise Retry

    run = launch("flaky", numbers(1), by=acme)
    waits = []
    now = timezone.now()
    for _ in range(3):
        with time_machine.travel(now, tick=False):
            work()
            waits.append((reread(run).postponed_until - now).total_seconds())
            now = reread(run).postponed_until + timedelta(milliseconds=1)
        with time_machine.travel(now, tick=False):
            recovery.sweep(now=now)
    assert 1 <= waits[0] <= 2 <= waits[1] <= 4 <= waits[2] <= 8


def test_retry_with_one_attempt_is_a_failure(acme: Member) -> None:
    @action("flaky")
    def flaky(input: Number) -> int:
        raise Retry(after_s=60, reason="busy")

    run = launch("flaky", numbers(1), by=acme)
    work()
    assert (reread(run).status, reread(run).progress.retry_count) == (RunStatus.FAILED, 0)


def test_inputs_of_one_batch_that_are_due_at_different_times(acme: Member) -> None:
    done: list[int] = []

    @action("flaky", max_attempts=2)
    def flaky(input: Number, *, context: Context) -> int:
        if context.attempt == 1:
            raise Retry(after_s=100 * (input.n + 1))
        done.append(input.n)
        return input.n

    run = launch("flaky", numbers(3), by=acme, batch_size=3)
    start = timezone.now()
    work()
    for minute in (150, 250, 350):
        with time_machine.travel(start + timedelta(seconds=minute)):
            recovery.sweep(now=timezone.now())
            work()
            assert done == list(range(minute // 100))
    assert reread(run).status == RunStatus.SUCCEEDED


def test_a_retry_that_waits_keeps_no_other_batch(acme: Member) -> None:
    """While one batch waits and others are ready the run goes on RUNNING, and ends SCHEDULED."""

    @action("flaky", max_attempts=2)
    def flaky(input: Number, *, context: Context) -> int:
        if input.n == 0 and context.attempt == 1:
            raise Retry(after_s=50)
        return input.n

    run = launch("flaky", numbers(3), by=acme, batch_size=1)
    lease = dispatch.claim(worker="w", actions=["flaky"], now=timezone.now())
    assert lease is not None
    execution.execute(lease, stop_at=time.monotonic() + 1)
    assert (reread(run).status, reread(run).postponed_until) == (RunStatus.RUNNING, None)
    assert Batch.objects.get(run=run, first_index=0).status == BatchStatus.WAITING
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.SCHEDULED, (2, 0, 0, 1))
