"""Claims: one batch in one worker's hands, leases that run out, and turns that are fair."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from actions import ActionDefinition
from actions.models import Action
from runs import dispatch, gates, lifecycle, turns
from runs.leases import Lease
from runs.models import Batch, BatchStatus, ReadyRun, Run, RunStatus, WorkspaceTurn
from tests.factories import Member, launch, member, numbers, reread

pytestmark = pytest.mark.django_db


def claim(*actions: str) -> Lease | None:
    return dispatch.claim(worker="test:1", actions=actions or ("double",), now=timezone.now())


def claim_some() -> Lease:
    lease = claim()
    assert lease is not None
    return lease


def is_blocked(pid: int) -> bool:
    """Whether a connection waits for a lock that another holds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid])
        return bool(cursor.fetchone()[0])


# --- Claims and leases ----------------------------------------------------------------------------------------


def test_a_claim_leases_the_first_ready_batch(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(6), by=acme, batch_size=2, parameters={})
    before = timezone.now()
    lease = claim_some()
    batch = Batch.objects.get(run=run, first_index=0)
    assert (lease.batch_id, lease.attempt, lease.epoch, lease.checkpoint) == (batch.pk, 1, 0, 0)
    assert (lease.run_uid, lease.first_index, lease.done.missing()) == (run.uid, 0, [0, 1])
    assert (batch.status, batch.attempt, batch.worker) == (BatchStatus.LEASED, 1, "test:1")
    assert batch.leased_until is not None
    assert timedelta(seconds=14) < batch.leased_until - before < timedelta(seconds=16)
    assert reread(run).status == RunStatus.RUNNING
    assert claim_some().first_index == 2
    assert claim_some().first_index == 4
    assert claim() is None


def put_back(lease: Lease) -> bool:
    """Make a claimed batch ready again, as a release does, and say whether it was the lease's."""
    held = Batch.objects.filter(pk=lease.batch_id, attempt=lease.attempt, status=BatchStatus.LEASED)
    return held.update(status=BatchStatus.READY, leased_until=None, worker="") == 1


def test_the_run_starts_once(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=1)
    claim_some()
    started = reread(run).started_at
    claim_some()
    assert reread(run).started_at == started
    assert run.transitions.filter(to_status="RUNNING").count() == 1


def test_each_claim_of_a_batch_raises_its_attempt(acme: Member, double: ActionDefinition) -> None:
    launch("double", numbers(1), by=acme)
    for attempt in (1, 2, 3):
        lease = claim_some()
        assert lease.attempt == attempt
        assert put_back(lease)
        assert not put_back(lease)
        turns.restore_lost_ready_runs()


def test_only_known_actions_are_claimed(acme: Member, double: ActionDefinition, count_up: ActionDefinition) -> None:
    launch("double", numbers(1), by=acme)
    assert claim("count-up") is None
    assert claim("count-up", "double") is not None


def test_a_paused_actions_batches_are_passed_over(
    acme: Member, double: ActionDefinition, count_up: ActionDefinition
) -> None:
    launch("double", numbers(1), by=acme)
    launch("count-up", numbers(1), by=acme)
    Action.objects.filter(name="double").update(paused=True)
    lease = claim("double", "count-up")
    assert lease is not None
    assert lease.action.name == "count-up"
    assert claim("double", "count-up") is None


def test_a_run_that_was_stopped_is_not_claimed(acme: Member, double: ActionDefinition) -> None:
    stopped, other = (launch("double", numbers(1), by=acme) for _ in range(2))
    lifecycle.move(stopped.pk, RunStatus.STOPPED, now=timezone.now())
    assert claim_some().run_id == other.pk
    assert claim() is None
    batch = Batch.objects.get(run=stopped)
    assert (batch.status, batch.attempt) == (BatchStatus.READY, 0)
    assert not ReadyRun.objects.exists()


def test_a_lease_is_renewed_by_its_holder_alone(acme: Member, double: ActionDefinition) -> None:
    launch("double", numbers(1), by=acme)
    lease = claim_some()
    Batch.objects.update(leased_until=timezone.now())
    assert dispatch.renew(lease.batch_id, lease.attempt)
    assert Batch.objects.get().leased_until > timezone.now() + timedelta(seconds=10)
    assert not dispatch.renew(lease.batch_id, lease.attempt + 1)
    put_back(lease)
    assert not dispatch.renew(lease.batch_id, lease.attempt)


def test_an_expired_lease_goes_to_another(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=1)
    first, second = claim_some(), claim_some()
    assert dispatch.expire_leases() == 0
    Batch.objects.filter(pk=first.batch_id).update(leased_until=timezone.now() - timedelta(seconds=1))
    assert dispatch.expire_leases() == 1
    batch = Batch.objects.get(pk=first.batch_id)
    assert (batch.status, batch.crash_count, batch.worker) == (BatchStatus.READY, 1, "")
    again = claim_some()
    assert (again.batch_id, again.attempt) == (first.batch_id, 2)
    assert not dispatch.renew(first.batch_id, first.attempt)
    assert dispatch.renew(second.batch_id, second.attempt)
    assert reread(run).status == RunStatus.RUNNING


@pytest.mark.django_db(transaction=True)
def test_claimers_side_by_side_never_get_the_same_batch(
    acme: Member, other: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    for by, count in ((acme, 12), (other, 3), (acme, 5)):
        launch("double", numbers(count), by=by, batch_size=1)

    def claim_all() -> list[tuple[int, int]]:
        taken = []
        for _ in range(30):
            lease = claim()
            if lease:
                taken.append((lease.batch_id, lease.attempt))
        return taken

    taken = [one for part in side_by_side(*[claim_all] * 4) for one in part]
    assert len({batch_id for batch_id, _ in taken}) == len(taken)
    turns.restore_lost_ready_runs()
    taken += claim_all()
    assert sorted(batch_id for batch_id, _ in taken) == sorted(Batch.objects.values_list("pk", flat=True))
    assert {attempt for _, attempt in taken} == {1}


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_is_not_committed_leaves_the_others_to_the_next_claimer(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    """Were all candidates locked and not the one taken, the second claimer would find nothing."""
    for _ in range(3):
        launch("double", numbers(1), by=acme)

    def claim_without_waiting() -> int | None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                values = {
                    "worker": "w",
                    "lease_s": 15,
                    "candidates": 32,
                    "is_runs_turn": False,
                    **gates.names_of(["double"]),
                }
                cursor.execute(dispatch._CLAIM, values)
                found = cursor.fetchone()
            return found and int(found[0])

    with transaction.atomic():
        mine = claim_without_waiting()
        (theirs,) = side_by_side(claim_without_waiting)
    assert None not in (mine, theirs)
    assert mine != theirs


@pytest.mark.django_db(transaction=True)
def test_the_last_claim_of_a_run_and_a_release_do_not_deadlock_or_lose_the_run(
    acme: Member, double: ActionDefinition
) -> None:
    """One worker lets a batch go while another claims the run's last ready one: the run stays in line."""
    run = launch("double", numbers(2), by=acme, batch_size=1)
    released = claim_some()
    pid: list[int] = []
    claimed: list[Lease | None] = []

    def claim_the_last() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pid.append(cursor.fetchone()[0])
        try:
            claimed.append(claim())
        finally:
            connection.close()

    thread = threading.Thread(target=claim_the_last)
    with transaction.atomic():
        WorkspaceTurn.objects.select_for_update().get(workspace=acme.workspace)  # as letting go does first
        thread.start()
        deadline = time.monotonic() + 10
        while not (pid and is_blocked(pid[0])):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert put_back(released)
        turns.make_ready(run.pk, run.workspace_id, run.action_id)
    thread.join(10)
    assert [lease and lease.first_index for lease in claimed] == [1]
    assert ReadyRun.objects.filter(run=run).exists()
    assert claim_some().batch_id == released.batch_id


# --- Turns ----------------------------------------------------------------------------------------------------


def served(count: int) -> list[str]:
    """Claim `count` batches, and return the workspaces served in this order."""
    return [Run.objects.select_related("workspace").get(pk=claim_some().run_id).workspace.name for _ in range(count)]


def test_two_workspaces_take_turns(acme: Member, other: Member, double: ActionDefinition) -> None:
    launch("double", numbers(10), by=acme, batch_size=1)
    launch("double", numbers(10), by=other, batch_size=1)
    order = served(20)
    assert all(set(order[n : n + 2]) == {"Acme", "Globex"} for n in range(0, 20, 2))


def test_a_workspace_of_one_run_beside_one_of_twenty_is_served_every_other_claim(
    acme: Member, other: Member, double: ActionDefinition
) -> None:
    for _ in range(20):
        launch("double", numbers(5), by=acme, batch_size=1)
    served(5)
    launch("double", numbers(15), by=other, batch_size=1)
    order = served(30)
    assert order.count("Globex") == 15
    assert all("Globex" in order[n : n + 3] for n in range(27))


def test_a_newcomer_waits_for_a_claim_or_two_behind_any_queue(
    acme: Member, other: Member, double: ActionDefinition
) -> None:
    for _ in range(40):
        launch("double", numbers(3), by=acme, batch_size=1)
    served(17)
    launch("double", numbers(1), by=other)
    assert "Globex" in served(2)


def test_runs_of_one_workspace_take_turns(acme: Member, double: ActionDefinition) -> None:
    runs = [launch("double", numbers(3), by=acme, batch_size=1).pk for _ in range(3)]
    claimed = [claim_some().run_id for _ in range(9)]
    assert claimed == runs * 3


def test_a_workspace_that_was_idle_has_saved_up_no_turns(acme: Member, other: Member, double: ActionDefinition) -> None:
    launch("double", numbers(1), by=other)
    served(1)
    launch("double", numbers(40), by=acme, batch_size=1)
    served(20)
    launch("double", numbers(20), by=other, batch_size=1)
    order = served(20)
    assert 9 <= order.count("Globex") <= 11


def test_three_workspaces_with_any_number_of_runs_get_a_third_each(acme: Member, double: ActionDefinition) -> None:
    members = [acme, member("B", "b@b.test"), member("C", "c@c.test")]
    for by, runs in zip(members, (1, 4, 12), strict=True):
        for _ in range(runs):
            launch("double", numbers(12 // runs + 1), by=by, batch_size=1)
    order = served(30)
    assert {name: order.count(name) for name in ("Acme", "B", "C")} == {"Acme": 10, "B": 10, "C": 10}


def test_a_run_leaves_the_candidates_with_its_last_ready_batch(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=1)
    claim_some()
    assert ReadyRun.objects.filter(run=run).exists()
    claim_some()
    assert not ReadyRun.objects.exists()


def test_make_ready_twice_keeps_the_first_place(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    turn = ReadyRun.objects.get().turn
    turns.make_ready(run.pk, run.workspace_id, run.action_id)
    assert ReadyRun.objects.get().turn == turn


def test_a_claim_takes_few_queries_whatever_stands_in_line(
    acme: Member, double: ActionDefinition, django_assert_max_num_queries: Any
) -> None:
    for _ in range(40):
        launch("double", numbers(3), by=acme, batch_size=1)
    with django_assert_max_num_queries(8):
        claim_some()


@pytest.mark.parametrize("statement", [dispatch._CLAIM, dispatch._CLAIM_LIVE], ids=["async", "live"])
def test_a_claim_finds_its_batch_by_the_id_whatever_the_statistics_say(
    acme: Member, double: ActionDefinition, statement: str
) -> None:
    """They are mostly of a quiet time, in which going through all ready batches costs nothing."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_batch, runs_run, runs_readyrun")
        launch("double", numbers(500), by=acme, batch_size=1)
        values = {
            "worker": "w",
            "lease_s": 15,
            "candidates": dispatch.CANDIDATES,
            "is_runs_turn": False,
            **gates.names_of(["double"]),
        }
        cursor.execute(f"EXPLAIN {statement}", values)
        plan = [line for (line,) in cursor.fetchall()]
    assert any("runs_batch_pkey on runs_batch batch" in line for line in plan), "\n".join(plan)
