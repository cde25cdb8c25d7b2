"""How much of an action may be executed: switched off, paused, `max_concurrency` and `rate`, whoever claims."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from actions import ActionDefinition, action
from actions.limits import count_and_period
from actions.models import Action
from rest.errors import Unavailable
from runs import checkpoint, dispatch, doorbell, execution, gates, turns
from runs.leases import Lease
from runs.models import ActionGate, Batch, BatchStatus, ReadyRun, RunStatus
from tests.factories import KINDS, Member, Number, counts, define, launch, numbers, outputs_of, reread, work
from tests.runs.live_worker import stored

pytestmark = pytest.mark.django_db


@pytest.fixture
def act() -> ActionDefinition:
    return define("process", lambda n: n)


def claim() -> Lease | None:
    return dispatch.claim(worker="w", actions=["act"], now=timezone.now())


def claim_live() -> Lease | None:
    return dispatch.claim_live(worker="w", actions=["act"], now=timezone.now())


# --- Switched off and paused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [{"enabled": False}, {"paused": True}], ids=["off", "paused"])
def test_nothing_of_an_action_that_is_off_or_paused_is_claimed(
    acme: Member, act: ActionDefinition, double: ActionDefinition, state: dict[str, bool]
) -> None:
    launch("act", numbers(1), by=acme)
    other = launch("double", numbers(1), by=acme)
    Action.objects.filter(name="act").update(**state)
    assert claim() is None
    work()
    assert reread(other).status == RunStatus.SUCCEEDED


# --- max_concurrency ------------------------------------------------------------------------------------------


def test_no_more_batches_at_once_than_the_code_says(acme: Member) -> None:
    define("process", lambda n: n, max_concurrency=2)
    launch("act", numbers(5), by=acme, batch_size=1)
    leases = [claim() for _ in range(4)]
    assert [lease is not None for lease in leases] == [True, True, False, False]
    checkpoint.write(leases[0], [], release=True)  # type: ignore[arg-type]
    assert claim() is not None
    assert claim() is None


def test_staff_may_lower_it_and_the_lower_one_counts(acme: Member) -> None:
    define("process", lambda n: n, max_concurrency=2)
    launch("act", numbers(5), by=acme, batch_size=1)
    Action.objects.filter(name="act").update(max_concurrency=1)
    assert (claim() is None, claim() is None) == (False, True)
    Action.objects.filter(name="act").update(max_concurrency=9)
    assert (claim() is None, claim() is None) == (False, True)


def test_an_action_that_is_full_is_in_nobodys_way(acme: Member, double: ActionDefinition) -> None:
    define("process", lambda n: n, max_concurrency=1)
    for _ in range(40):  # more than a claim looks at
        launch("act", numbers(2), by=acme, batch_size=1)
    other = launch("double", numbers(1), by=acme)
    assert claim() is not None
    assert work() == 1
    assert reread(other).status == RunStatus.SUCCEEDED


@pytest.mark.django_db(transaction=True)
def test_no_more_at_once_when_many_claim_at_the_same_moment(
    acme: Member, side_by_side: Callable[..., list[Any]]
) -> None:
    define("process", lambda n: n, max_concurrency=3)
    for _ in range(4):
        launch("act", numbers(30), by=acme, batch_size=1)
    most: list[int] = []

    def work_on() -> None:
        for _ in range(12):
            lease = claim()
            most.append(Batch.objects.filter(status=BatchStatus.LEASED).count())
            if lease:
                checkpoint.write(lease, [], release=True)

    side_by_side(*[work_on] * 6)
    assert max(most) == 3


def test_a_live_call_goes_first(acme: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "RUNS_TURN_S", 0.0)
    define("process", lambda n: n, max_concurrency=1)
    launch("act", numbers(3), by=acme, batch_size=1)
    lease = claim()
    assert lease is not None
    stored("act")
    assert claim_live() is None
    checkpoint.write(lease, [], release=True)
    assert claim() is None
    live = claim_live()
    assert live is not None
    assert live.is_live


def test_callers_who_never_cease_leave_runs_a_turn(acme: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    define("process", lambda n: n, max_concurrency=1)
    run = launch("act", numbers(1), by=acme)
    stored("act")
    monkeypatch.setattr(dispatch, "RUNS_TURN_S", dispatch.OF_S)
    ReadyRun.objects.update(waiting_since=timezone.now() - timedelta(seconds=9))
    assert claim_live() is None
    lease = claim()
    assert lease is not None
    checkpoint.write(lease, [], release=True)  # served just now
    assert claim_live() is not None
    assert reread(run).status == RunStatus.RUNNING


# --- rate -----------------------------------------------------------------------------------------------------


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A permit is good for longer than a busy machine takes to commit: a late one is lost."""
    monkeypatch.setattr(gates, "BEGINS_WITHIN_S", 5.0)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("kind", KINDS)
def test_no_more_inputs_begin_than_the_rate_allows(acme: Member, kind: str) -> None:
    begun: list[int] = []
    define(kind, lambda n: begun.append(n) or n, rate="5/h")
    run = launch("act", numbers(12), by=acme, batch_size=3)
    work()
    assert (len(begun), counts(run)) == (5, (5, 0, 0, 7))
    assert not Batch.objects.filter(status=BatchStatus.LEASED).exists()
    closed_until = ActionGate.objects.get().closed_until
    assert timedelta(minutes=59) < closed_until - timezone.now() < timedelta(minutes=61)

    log = ActionGate.objects.get().begun
    ActionGate.objects.update(begun=[[at - 7200, count] for at, count in log], closed_until=None)  # two hours later
    work()
    assert (len(begun), counts(run)) == (10, (10, 0, 0, 2))
    assert sorted(begun) == list(range(10))


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_of_seconds_is_used_to_the_full(acme: Member, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over real time: no window of a second has more than it may, and none waits for nothing."""
    begun: list[float] = []
    granted: list[int] = []
    take = gates.Permits.take
    monkeypatch.setattr(gates.Permits, "take", lambda self, wanted: granted.append(take(self, wanted)) or granted[-1])
    define(kind, lambda n: begun.append(time.time()) or n, rate="20/s")
    monkeypatch.setattr(doorbell, "ring_after", lambda seconds: time.sleep(seconds))
    run = launch("act", numbers(50), by=acme)
    work()
    assert reread(run).status == RunStatus.SUCCEEDED
    assert outputs_of(run) == list(range(50))
    assert sum(granted) == 50  # nothing of the rate is asked for and not used
    for at in begun:
        assert sum(at <= other < at + 1 for other in begun) <= 20
    assert len(ActionGate.objects.get().begun) <= gates.RESOLUTION * 1.1


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("rate", ["9/h", None], ids=["raised", "taken away"])
def test_a_rate_that_staff_change_holds_at_once(acme: Member, act: ActionDefinition, rate: str | None) -> None:
    """It was used up under the old one, for an hour."""
    run = launch("act", numbers(12), by=acme, batch_size=12)
    Action.objects.filter(name="act").update(rate="3/h")
    work()
    assert counts(run)[0] == 3
    Action.objects.filter(name="act").update(rate=rate)
    work()
    assert counts(run)[0] == (9 if rate else 12)


@pytest.mark.usefixtures("unhurried")
def test_retries_count_as_well(acme: Member) -> None:
    from actions import Retry

    calls: list[int] = []

    @action("act", rate="3/h", max_attempts=9)
    def act(input: Number) -> int:
        calls.append(input.n)
        raise Retry(after_s=0)

    launch("act", numbers(1), by=acme)
    for _ in range(6):
        work()
        dispatch.wake_due(now=timezone.now())
    assert len(calls) == 3


@pytest.mark.usefixtures("unhurried")
def test_a_live_call_needs_a_permit_too(acme: Member) -> None:
    define("process", lambda n: n, rate="1/h")
    first, second = stored("act"), stored("act")
    assert execution.execute_live() is True
    assert execution.execute_live() is False
    assert [reread(run).status for run in (first, second)] == [RunStatus.SUCCEEDED, RunStatus.QUEUED]
    assert ActionGate.objects.get().closed_until > timezone.now()


@pytest.mark.usefixtures("unhurried")
def test_a_careful_batch_asks_before_it_writes_down_whom_it_suspects(acme: Member) -> None:
    begun: list[int] = []
    define("process", lambda n: begun.append(n) or n, rate="1/h")
    launch("act", numbers(3), by=acme, batch_size=3)
    Batch.objects.update(careful=True)
    work()
    assert begun == [0]
    assert (Batch.objects.get().suspect, Batch.objects.get().status) == (None, BatchStatus.READY)


@pytest.mark.django_db(transaction=True)
def test_the_rate_holds_when_many_ask_at_the_same_moment(
    acme: Member, act: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    found = launch("act", numbers(1), by=acme).action

    def ask() -> int:
        permits = gates.Permits(found, "50/h")
        return sum(permits.take(3) for _ in range(10))

    assert sum(side_by_side(*[ask] * 4)) == 50


def test_a_permit_that_came_too_late_is_not_used(
    acme: Member, act: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit took its time: the input would begin later than it was counted for."""
    permits = gates.Permits(launch("act", numbers(1), by=acme).action, "100/h")
    save, saved = gates._save, []

    def save_slowly(gate: ActionGate, closed_until: Any) -> None:
        save(gate, closed_until)
        saved.append(gate)
        if len(saved) < 3:
            time.sleep(2 * gates.BEGINS_WITHIN_S)

    monkeypatch.setattr(gates, "_save", save_slowly)
    assert permits.take(1) == 1
    assert len(saved) == 3
    saved.clear()
    monkeypatch.setattr(gates, "MAX_ASKS", 2)
    assert permits.take(1) == 0


def test_a_worker_is_rung_for_when_a_short_wait_is_over(acme: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    rings: list[float] = []
    monkeypatch.setattr(doorbell, "ring_after", rings.append)
    define("process", lambda n: n, rate="2/s")
    launch("act", numbers(3), by=acme, batch_size=3)
    execution.execute_slice()
    assert len(rings) == 1
    assert 0 < rings[0] < 1.1


@given(
    rate=st.sampled_from(["1/s", "7/s", "64/s", "10/m", "500/m", "3/h"]),
    asks=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 90)), min_size=1, max_size=60),
)
def test_no_window_has_more_than_the_rate(rate: str, asks: list[tuple[float, int]]) -> None:
    """`asks` are waits, in periods, and how many inputs want to begin after each."""
    limit, period_s = count_and_period(rate)
    now, log, begun = 1_700_000_000.0, [], []
    for wait, wanted in asks:
        now += wait * period_s
        granted, log, closed_until = gates.admit(log, rate=rate, now=now, wanted=wanted)
        begun += [now] * granted
        assert granted <= wanted
        assert len(log) <= gates.RESOLUTION + 2 + gates.BEGINS_WITHIN_S * gates.RESOLUTION
        within = sum(at > now - period_s for at in begun)
        assert within <= limit
        if granted < wanted:
            assert closed_until is not None
            assert now < closed_until.timestamp() <= now + period_s * (1 + 2 / gates.RESOLUTION) + gates.BEGINS_WITHIN_S
            later = closed_until.timestamp() + 1e-5
            assert gates.admit(log, rate=rate, now=later, wanted=1)[0] == 1  # it opens when it said


def test_a_database_that_fails_at_a_permit_costs_no_result(acme: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    define("process", lambda n: begun.append(n) or n, rate="30/h")
    run = launch("act", numbers(5), by=acme, batch_size=5)
    ask, asked = gates.Permits._ask, []

    def ask_or_fail(permits: gates.Permits, wanted: int) -> tuple[int, float]:
        asked.append(wanted)
        if len(asked) == 3:
            raise OperationalError("terminating connection")
        return ask(permits, wanted)

    monkeypatch.setattr(connection, "close", lambda: None)  # the test's own transaction
    monkeypatch.setattr(gates.Permits, "_ask", ask_or_fail)
    work()
    assert begun == [0, 1, 2, 3, 4]
    assert (reread(run).status, counts(run)) == (RunStatus.SUCCEEDED, (5, 0, 0, 0))


def test_a_live_call_whose_rate_is_used_up_is_refused_at_once(acme: Member) -> None:
    """It would wait for an hour, and hold the place of other actions' calls for as long as it may."""
    define("process", lambda n: n, rate="1/h")
    stored("act")
    assert execution.execute_live() is True
    with pytest.raises(Unavailable, match="rate of the action 'act', 1/h, is used up") as refused:
        stored("act")
    assert 3_000 < int(refused.value.headers["Retry-After"]) < 4_000


def test_the_sweep_rings_for_actions_that_only_others_have(acme: Member, act: ActionDefinition) -> None:
    run = launch("act", numbers(3), by=acme, batch_size=1)
    assert recovery_rings([]) == 3
    assert recovery_rings([run.action_id]) == 0


def recovery_rings(closed: list[int]) -> int:
    return turns.ready_count(limit=64, but_of=closed)
