"""Careful mode: which input is blamed for lost processes, when, and that the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F
from django.utils import timezone

from actions import ActionDefinition, Retry
from runs import checkpoint, dispatch, execution
from runs.careful import MAX_DEATHS
from runs.leases import Lease
from runs.models import Batch, BatchStatus, Run, RunStatus
from runs.watchdog import DEAF_AFTER_S
from tests.factories import KINDS, Member, counts, define, inputs_of, launch, numbers, outputs_of, reread, work

pytestmark = pytest.mark.django_db

POISON = 3
WORKER = "host:pool:1"


class Died(BaseException):
    """Stands for the end of the process: nothing after it is executed, and the batch stays leased."""


def claim() -> Lease:
    lease = dispatch.claim(worker=WORKER, actions=["act"], now=timezone.now())
    assert lease is not None
    return lease


def found_dead() -> None:
    assert dispatch.take_from_dead([WORKER]) == 1


def found_silent() -> None:
    Batch.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert dispatch.expire_leases() == 1


def stopped() -> None:
    assert dispatch.take_from_stopped([WORKER]) == 1


def lose_in_hand(offset: int, how: Callable[[], None] = found_dead, *, after_s: float = 0.0) -> None:
    """Claim the batch, be at an input for `after_s`, and lose the process."""
    lease = claim()
    deaths = lease.suspect.deaths if lease.suspect else 0
    assert dispatch.mark_suspect(lease, offset, deaths=deaths)
    Batch.objects.update(suspect_since=F("suspect_since") - timedelta(seconds=after_s))
    how()


def lose_in_the_crowd() -> None:
    claim()
    found_dead()


@pytest.fixture
def executed() -> list[int]:
    return []


@pytest.fixture
def run(acme: Member, executed: list[int]) -> Run:
    define("process", lambda n: executed.append(n), timeout_s=5)
    return launch("act", numbers(8), by=acme, batch_size=8)


def failures(run: Run) -> list[tuple[int, str]]:
    return [(one["index"], one["last_error"]["label"]) for one in inputs_of(run) if one["last_error"]]


def test_the_first_loss_blames_nobody(run: Run, executed: list[int]) -> None:
    lose_in_the_crowd()
    batch = Batch.objects.get()
    assert (batch.careful, batch.crash_count, batch.suspect, batch.suspect_deaths) == (True, 1, None, 0)
    work()
    assert (reread(run).status, counts(run), executed) == (RunStatus.SUCCEEDED, (8, 0, 0, 0), list(range(8)))


def test_an_input_is_written_down_before_it_is_executed_and_no_longer_after(acme: Member) -> None:
    seen = []
    define("process", lambda n: seen.append((n, Batch.objects.values_list("suspect", "checkpoint").get())))
    launch("act", numbers(3), by=acme, batch_size=3)
    lose_in_the_crowd()
    work()
    assert seen == [(0, (0, 0)), (1, (1, 1)), (2, (2, 2))]
    batch = Batch.objects.get()
    assert (batch.status, batch.suspect, batch.suspect_since) == (BatchStatus.DONE, None, None)


@pytest.mark.parametrize("how", [found_dead, found_silent], ids=["found dead", "silent"])
def test_three_deaths_at_an_input_fail_it_and_the_others_go_on(
    run: Run, executed: list[int], how: Callable[[], None]
) -> None:
    lose_in_the_crowd()
    for deaths in range(1, MAX_DEATHS + 1):
        lose_in_hand(POISON, how)
        assert Batch.objects.get().suspect_deaths == deaths
    work()
    assert POISON not in executed
    assert sorted(executed) == [n for n in range(8) if n != POISON]
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (7, 1, 0, 0))
    failed = inputs_of(run)[POISON]
    error = failed["last_error"]
    assert (error["label"], error["error_label"], error["scope"]) == ("WORKER_LOST", "WORKER_LOST", "action")
    assert (error["params"], error["has_failed"]) == ({"deaths": 3}, True)
    assert error["error_ref"] == str(failed["uid"])
    assert failed["started_at"] <= failed["finished_at"]


@pytest.mark.parametrize("deaths", range(1, MAX_DEATHS), ids=str)
def test_one_that_lives_after_fewer_deaths_succeeds_and_goes_first(run: Run, executed: list[int], deaths: int) -> None:
    lose_in_the_crowd()
    for _ in range(deaths):
        lose_in_hand(POISON)
    work()
    assert executed == [POISON, 0, 1, 2, 4, 5, 6, 7]
    assert counts(run) == (8, 0, 0, 0)


@pytest.mark.parametrize(
    ("lived_s", "how", "label"),
    [
        (5 + DEAF_AFTER_S + 0.1, found_dead, "TIMEOUT"),
        (5 + DEAF_AFTER_S - 1, found_dead, None),
        (1_000, found_silent, None),
        (1_000, stopped, None),
    ],
    ids=["past the limit", "not yet killed for it", "not seen dead", "stopped"],
)
def test_one_death_past_the_limit_is_a_timeout(
    run: Run, executed: list[int], lived_s: float, how: Callable[[], None], label: str | None
) -> None:
    lose_in_the_crowd()
    lose_in_hand(POISON, how, after_s=lived_s)
    work()
    assert failures(run) == ([(POISON, label)] if label else [])
    assert (POISON in executed) == (label is None)
    if label:
        assert inputs_of(run)[POISON]["last_error"]["params"] == {"timeout_s": 5}


def test_a_polite_stop_is_nobodys_death(run: Run) -> None:
    lose_in_the_crowd()
    for _ in range(MAX_DEATHS):
        lose_in_hand(POISON, stopped)
    batch = Batch.objects.get()
    assert (batch.status, batch.crash_count, batch.suspect_deaths) == (BatchStatus.READY, 1, 0)
    work()
    assert counts(run) == (8, 0, 0, 0)


def test_a_stop_forgets_no_death(run: Run) -> None:
    lose_in_the_crowd()
    lose_in_hand(POISON)
    lose_in_hand(POISON)
    lose_in_hand(POISON, stopped)
    lose_in_hand(POISON)
    work()
    assert failures(run) == [(POISON, "WORKER_LOST")]


def test_a_slice_that_may_start_nothing_forgets_no_death(run: Run, executed: list[int]) -> None:
    """The rate of its action was used up when the batch came to its first input."""
    lose_in_the_crowd()
    for _ in range(MAX_DEATHS):
        lose_in_hand(POISON)
        checkpoint.write(claim(), [], release=True)
    work()
    assert failures(run) == [(POISON, "WORKER_LOST")]
    assert POISON not in executed


def test_the_only_input_left_is_to_blame_from_the_first_loss_on(acme: Member) -> None:
    executed: list[int] = []
    define("process", executed.append)
    run = launch("act", numbers(1), by=acme)
    lose_in_the_crowd()
    lose_in_hand(0)
    assert Batch.objects.get().suspect_deaths == 2
    lose_in_hand(0)
    work()
    assert (failures(run), executed, reread(run).status) == ([(0, "WORKER_LOST")], [], RunStatus.FAILED)


def test_careful_mode_ends_when_the_input_after_the_culprit_has_passed(acme: Member) -> None:
    careful = []
    define("process", lambda n: careful.append((n, Batch.objects.get().suspect is not None)))
    run = launch("act", numbers(5), by=acme, batch_size=5)
    lose_in_the_crowd()
    for _ in range(MAX_DEATHS):
        lose_in_hand(1)
    work()
    assert careful == [(0, True), (2, False), (3, False), (4, False)]
    assert counts(run) == (4, 1, 0, 0)
    assert Batch.objects.get().careful is False


def test_a_second_culprit_behind_the_first_is_blamed_too(run: Run) -> None:
    lose_in_the_crowd()
    for _ in range(MAX_DEATHS):
        lose_in_hand(0)
    execute_until_death(claim(), first=1)
    for _ in range(MAX_DEATHS - 1):
        lose_in_hand(1)
    work()
    assert failures(run) == [(0, "WORKER_LOST"), (1, "WORKER_LOST")]
    assert counts(run) == (6, 2, 0, 0)


def execute_until_death(lease: Lease, *, first: int) -> None:
    """Execute a careful batch until it marks the input `first`, and lose the process there."""
    mark = dispatch.mark_suspect

    def mark_and_die(*arguments: Any, **named: Any) -> bool:
        mark(*arguments, **named)
        if arguments[1] == first:
            raise Died
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "mark_suspect", mark_and_die)
        with pytest.raises(Died):
            execution.execute(lease, stop_at=time.monotonic() + 5)
    found_dead()


def test_deaths_of_an_input_are_counted_over_its_retries(acme: Member) -> None:
    calls: list[int] = []

    def later(n: int) -> None:
        calls.append(n)
        raise Retry(after_s=0)

    define("process", later, max_attempts=5)
    run = launch("act", numbers(2), by=acme, batch_size=2)
    lose_in_the_crowd()
    lose_in_hand(0)
    lose_in_hand(0)
    execution.execute(claim(), stop_at=time.monotonic())
    batch = Batch.objects.get()
    assert calls == [0]
    assert batch.retries["0"]["deaths"] == 2
    Batch.objects.update(status=BatchStatus.READY)
    execute_until_death(claim(), first=0)
    assert Batch.objects.get().suspect_deaths == 3
    execution.execute(claim(), stop_at=time.monotonic())
    assert (0, "WORKER_LOST") in failures(run)


def test_a_mark_is_fenced(run: Run) -> None:
    lease = claim()
    found_dead()
    assert dispatch.mark_suspect(lease, 0, deaths=0) is False
    later = claim()
    assert dispatch.mark_suspect(lease, 0, deaths=0) is False
    assert dispatch.mark_suspect(later, 0, deaths=0) is True


def test_whoever_lost_the_batch_executes_nothing(run: Run, executed: list[int]) -> None:
    lose_in_the_crowd()
    late = claim()
    found_dead()
    execution.execute(late, stop_at=time.monotonic() + 5)
    assert executed == []
    assert counts(run) == (0, 0, 0, 8)


def test_a_result_that_a_previous_version_recorded_clears_the_suspect_of_all(run: Run, executed: list[int]) -> None:
    lose_in_the_crowd()
    for _ in range(MAX_DEATHS):
        lose_in_hand(POISON)
    lease = claim()
    lease.done.add(POISON)
    Batch.objects.update(done=lease.done.packed())
    again = dispatch.take_over(lease.batch_id, lease.attempt)
    assert again is not None
    execution.execute(again, stop_at=time.monotonic() + 5)
    assert executed == [n for n in range(8) if n != POISON]


def test_an_input_that_was_a_death_before_is_held_until_it_would_be_killed(run: Run, settings: Any) -> None:
    """It may hold the interpreter, so that no thread renews its lease."""
    settings.RUNYARD_LEASE_SECONDS = 2
    held: list[float] = []
    mark = dispatch.mark_suspect
    lose_in_the_crowd()
    lose_in_hand(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "mark_suspect", lambda *a, hold_s, **k: held.append(hold_s) or mark(*a, **k))
        work()
    assert held[0] == 10.0  # five leases
    assert set(held[1:]) == {0.0}


def test_renewing_does_not_shorten_a_lease(run: Run) -> None:
    lease = claim()
    dispatch.mark_suspect(lease, 0, deaths=1, hold_s=500)
    before = Batch.objects.get().leased_until
    assert dispatch.renew(lease.batch_id, lease.attempt)
    assert Batch.objects.get().leased_until == before


def test_a_database_that_is_away_for_a_moment_is_no_death(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write, failed = checkpoint.write, []

    def fail_first(*arguments: Any, **named: Any) -> None:
        if len(failed) < 3:
            failed.append(1)
            raise OperationalError("away")
        write(*arguments, **named)

    lose_in_the_crowd()
    monkeypatch.setattr(execution, "RECORD_AGAIN_S", 0.0)
    monkeypatch.setattr(checkpoint, "write", fail_first)
    # The connection is the test's own transaction.
    monkeypatch.setattr(execution.connection, "close", lambda: None)
    work()
    assert (counts(run), Batch.objects.get().crash_count) == ((8, 0, 0, 0), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_action_is_executed_one_at_a_time(acme: Member, kind: str) -> None:
    begun: list[int] = []

    def alone(n: int) -> None:
        begun.append(n)
        time.sleep(0.005)
        assert begun[-1] == n, "another was begun meanwhile"

    define(kind, alone)
    run = launch("act", numbers(6), by=acme, batch_size=6)
    lose_in_the_crowd()
    work()
    assert (counts(run), begun) == ((6, 0, 0, 0), list(range(6)))


def test_a_careful_slice_ends_like_any_other(acme: Member, double: ActionDefinition) -> None:
    define("process", lambda n: time.sleep(0.02))
    run = launch("act", numbers(10), by=acme, batch_size=10)
    lose_in_the_crowd()
    execution.execute(claim(), stop_at=time.monotonic() + 0.05)
    batch = Batch.objects.get()
    assert (batch.status, batch.careful, batch.suspect) == (BatchStatus.READY, True, None)
    assert 1 <= reread(run).progress.succeeded_count < 10
    work()
    assert len(outputs_of(run)) == 10
