"""Claims, fences and records: who has a callback, and what is written down of it."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tests.webhooks.factories import (
    attempt,
    callbacks,
    claim,
    expire,
    make_due,
    receiver_of,
    record,
    reread,
    statuses,
)
from webhooks import dispatch, receivers
from webhooks.dispatch import Outcome
from webhooks.models import Callback, CallbackStatus, Receiver
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)


def ids(found: Any) -> list[int]:
    return sorted(one.callback_id if hasattr(one, "callback_id") else one.pk for one in found)


# --- Claims


def test_a_claim_leases_what_is_due(workspace: Workspace, settings: Any) -> None:
    settings.RUNYARD_LEASE_SECONDS = 40
    made = callbacks(workspace, 3)
    claims = claim(most=2, worker="me")
    assert ids(claims) == ids(made[:2])
    assert {one.receiver_id for one in claims} == {made[0].receiver_id}
    running = reread(made[0])
    assert (running.status, running.claim, running.worker) == (CallbackStatus.RUNNING, 1, "me")
    assert running.leased_until is not None
    assert timedelta(seconds=30) < running.leased_until - timezone.now() <= timedelta(seconds=45)
    assert reread(made[2]).status == CallbackStatus.PENDING
    assert ids(claim()) == ids(made[2:])
    assert claim() == []


def test_a_lease_outlives_the_longest_attempt(settings: Any) -> None:
    settings.RUNYARD_LEASE_SECONDS = 2
    assert dispatch.lease_s() == 20
    assert dispatch.lease_s() >= dispatch.START_WITHIN_S + 15 + dispatch.RECORD_WITHIN_S


def test_what_is_not_due_waits(workspace: Workspace) -> None:
    first, second, third = callbacks(workspace, 3)
    later = timezone.now() + timedelta(minutes=1)
    Callback.objects.filter(pk=first.pk).update(next_attempt_at=later)
    Callback.objects.filter(pk=third.pk).update(next_attempt_at=timezone.now() - timedelta(minutes=1))
    assert ids(claim(most=1)) == [third.pk]
    assert ids(claim()) == [second.pk]
    assert dispatch.claim(worker="me", room=lambda *_: 9) is None
    assert receiver_of(first).wakes_at == later


def test_receivers_take_turns(workspace: Workspace) -> None:
    """Whoever was served longest ago is next, however much another has waiting."""
    busy = callbacks(workspace, 6, url="https://busy.test/")
    [other] = callbacks(workspace, url="https://other.test/")
    served = [claim(most=1)[0].receiver_id for _ in range(7)]
    assert set(served[:2]) == {busy[0].receiver_id, other.receiver_id}
    assert served.count(busy[0].receiver_id) == 6


def test_workspaces_take_turns_however_many_receivers_one_has(workspace: Workspace) -> None:
    """One goes on making receivers that were never served; the other's turn comes all the same."""
    others = callbacks(Workspace.objects.create(name="Globex"), 3, url="https://healthy.test/")
    served, last = [], 0
    for number in range(6):
        for more in range(3):
            callbacks(workspace, url=f"https://dead-{number}-{more}.test/")
        [one] = claim(most=1, after_workspace=last)
        last = one.workspace_id
        served.append(one.receiver_id == others[0].receiver_id)
    assert served == [False, True] * 3


def test_workspaces_that_hold_their_share_are_left_out(workspace: Workspace) -> None:
    callbacks(workspace)
    [other] = callbacks(Workspace.objects.create(name="Globex"))
    assert ids(claim(without_workspaces=[workspace.pk])) == [other.pk]
    assert dispatch.claim(worker="me", room=lambda *_: 9, without_workspaces=[workspace.pk]) is None


def test_receivers_that_are_full_are_left_out(workspace: Workspace) -> None:
    [first] = callbacks(workspace, url="https://full.test/")
    [second] = callbacks(workspace, url="https://other.test/")
    assert ids(claim(without=(first.receiver_id,))) == [second.pk]
    assert claim(without=(first.receiver_id,)) == []
    assert ids(claim()) == [first.pk]


def test_nobody_has_a_callback_twice(workspace: Workspace, side_by_side: Any) -> None:
    made = [*callbacks(workspace, 40), *callbacks(workspace, 40, url="https://other.test/")]

    def take() -> list[int]:
        taken: list[int] = []
        while (claims := dispatch.claim(worker="me", room=lambda *_: 3)) is not None:
            taken += ids(claims)
        return taken

    taken = side_by_side(take, take, take, take)
    assert sorted(chain(*taken)) == ids(made)
    assert statuses() == {"RUNNING": 80}
    assert not Callback.objects.exclude(claim=1).exists()


def test_what_is_made_due_as_another_claims_is_not_overlooked(workspace: Workspace, side_by_side: Any) -> None:
    """Callbacks are made and claimed at once, over and over; nobody sweeps."""
    left = [*callbacks(workspace, 1)]
    claimed: list[int] = []

    def make() -> None:
        for _ in range(30):
            left.extend(callbacks(workspace, 1))

    def take() -> None:
        for _ in range(60):
            claimed.extend(ids(claim(most=2)))

    side_by_side(make, take, take)
    assert not receivers.forgotten()
    while (some := dispatch.claim(worker="me", room=lambda *_: 5)) is not None:
        claimed += ids(some)
    assert sorted(claimed) == list(Callback.objects.order_by("pk").values_list("pk", flat=True))
    assert len(claimed) == 31


def test_a_receiver_that_another_holds_is_looked_at_again(workspace: Workspace, side_by_side: Any) -> None:
    [made] = callbacks(workspace)
    with transaction.atomic():
        receivers.wake([made.receiver_id])
        [found] = side_by_side(lambda: dispatch.claim(worker="other", room=lambda *_: 9))
    assert found == []  # not None, which would say that nothing is due


# --- Records


def test_a_success_is_recorded(workspace: Workspace) -> None:
    [made] = callbacks(workspace)
    told = attempt(201, response="é\ufffd")
    recorded = dispatch.record([Outcome(claim()[0], told)])
    assert (recorded.locked, recorded.paused) == ([], set())
    done = reread(made)
    assert (done.status, done.next_attempt_at, done.leased_until, done.worker) == ("SUCCESS", None, None, "")
    assert done.attempts == [told.shown()]


def test_failures_wait_by_the_table_until_there_were_ten(workspace: Workspace) -> None:
    [made] = callbacks(workspace)
    for number, delay_s in enumerate([5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000], start=1):
        record(claim(), 500)
        failed = reread(made)
        assert (failed.status, len(failed.attempts), failed.leased_until) == ("PENDING", number, None)
        wait_s = (failed.next_attempt_at - timezone.now()).total_seconds()
        assert 0.9 * delay_s - 30 < wait_s <= 1.1 * delay_s
        assert receiver_of(made).wakes_at >= failed.next_attempt_at
        make_due()
    record(claim(), None)
    failed = reread(made)
    assert (failed.status, len(failed.attempts), failed.next_attempt_at) == ("FAILED", 10, None)
    assert failed.attempts[-1]["http_status"] is None
    make_due()
    assert claim() == []


def test_410_ends_a_callback(workspace: Workspace) -> None:
    [made] = callbacks(workspace)
    record(claim(), 410)
    assert (reread(made).status, reread(made).next_attempt_at) == ("FAILED", None)
    assert receiver_of(made).failures_in_row == 0


def test_retry_after_is_waited_for(workspace: Workspace) -> None:
    made = callbacks(workspace, 3)
    for one, asked in zip(claim(), (3600.0, 86_400.0, 0.0), strict=True):
        record([one], 503, retry_after_s=asked)
    waits = [(reread(one).next_attempt_at - timezone.now()).total_seconds() for one in made]
    assert 3500 < waits[0] <= 3600
    assert 86_300 < waits[1] <= 86_400
    assert waits[2] < 6


def test_many_are_recorded_at_once_each_with_its_own_end(workspace: Workspace) -> None:
    made = [*callbacks(workspace, 3), *callbacks(workspace, 2, url="https://other.test/")]
    claims = sorted([*claim(), *claim()], key=lambda one: one.callback_id)
    ends = [200, 500, 410, 204, None]
    outcomes = [Outcome(one, attempt(status)) for one, status in zip(claims, ends, strict=True)]
    dispatch.record([*outcomes])
    assert [reread(one).status for one in made] == ["SUCCESS", "PENDING", "FAILED", "SUCCESS", "PENDING"]
    assert [reread(one).attempts[0]["http_status"] for one in made] == ends


def test_who_lost_a_callback_records_nothing(workspace: Workspace) -> None:
    [made] = callbacks(workspace)
    lost = claim(worker="lost")
    expire()
    assert dispatch.expire_leases() == 1
    held = claim(worker="holder")
    assert held[0].number == 2
    record(lost, 200)
    assert (reread(made).status, reread(made).attempts) == ("RUNNING", [])
    assert receiver_of(made).success_rate is None
    record(held, 500)
    assert [one["http_status"] for one in reread(made).attempts] == [500]
    record(held, 200)  # as after a commit whose answer got lost
    assert [one["http_status"] for one in reread(made).attempts] == [500]


def test_what_is_recorded_after_its_lease_counts_once_while_nobody_else_has_it(workspace: Workspace) -> None:
    failed, arrived = callbacks(workspace, 2)
    late = claim(worker="late")
    expire()
    assert dispatch.expire_leases() == 2
    for _ in range(2):  # as after a commit whose answer got lost
        record(late[:1], 500)
        record(late[1:], 200)
    assert [one["http_status"] for one in reread(failed).attempts] == [500]
    assert (reread(failed).status, reread(arrived).status) == ("PENDING", "SUCCESS")
    assert receiver_of(failed).success_rate is not None
    assert claim() == []  # the next attempt is not due yet


def test_what_somebody_else_has_locked_is_in_nobodys_way(workspace: Workspace, side_by_side: Any) -> None:
    first, _ = callbacks(workspace, 2)
    claims = claim()
    with transaction.atomic():
        Callback.objects.select_for_update().get(pk=first.pk)
        [recorded] = side_by_side(lambda: record(claims))
    assert ids([outcome.claim for outcome in recorded.locked]) == [first.pk]
    assert statuses() == {"RUNNING": 1, "SUCCESS": 1}
    assert dispatch.record(recorded.locked).locked == []
    assert statuses() == {"SUCCESS": 2}


def test_what_was_not_sent_waits_as_before(workspace: Workspace) -> None:
    [made] = callbacks(workspace)
    [claimed] = claim()
    assert receiver_of(made).wakes_at is None
    assert dispatch.record([Outcome(claimed)]).locked == []
    back = reread(made)
    assert (back.status, back.attempts, back.next_attempt_at) == ("PENDING", [], made.next_attempt_at)
    assert receiver_of(made).success_rate is None
    assert claim()[0].number == 2
    assert dispatch.record([Outcome(claimed)]).locked == []  # no longer its own
    assert reread(made).status == "RUNNING"


# --- Leases


def test_expired_leases_are_due_again_in_bounded_steps(workspace: Workspace) -> None:
    made = callbacks(workspace, 5)
    claim(most=4)
    assert dispatch.expire_leases() == 0
    expire()
    assert [dispatch.expire_leases(limit=3), dispatch.expire_leases(limit=3), dispatch.expire_leases()] == [3, 1, 0]
    assert not Callback.objects.exclude(status="PENDING", leased_until=None).exists()
    assert ids(claim()) == ids(made)
    assert {one.attempts for one in claim()} <= {0}


def test_bounds_hold_in_whatever_way_the_rows_are_looked_up(workspace: Workspace) -> None:
    """A table that was empty at its last ANALYZE is joined by nested loops, whose inner side runs once for each row."""
    callbacks(workspace, 30)
    ways = ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize", "bitmapscan")
    with connection.cursor() as cursor:
        for way in ways:
            cursor.execute(f"SET enable_{way} = off")
    try:
        assert len(claim(most=4)) == 4
        expire()
        assert dispatch.expire_leases(limit=3) == 3
    finally:
        connection.close()


def test_a_kill_costs_no_attempt(workspace: Workspace) -> None:
    [made] = callbacks(workspace)
    for _ in range(12):
        assert len(claim()) == 1
        expire()
        dispatch.expire_leases()
    assert (reread(made).status, reread(made).attempts) == ("PENDING", [])


def test_claims_use_the_indexes(workspace: Workspace) -> None:
    """However many callbacks there are, the statistics being of a quiet time or not."""
    made = callbacks(workspace, 400)
    Callback.objects.filter(pk__in=ids(made)[:-2]).update(status="SUCCESS")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ANALYZE webhooks_callback")
        # Of a table of a few pages PostgreSQL may rather read all. Where no index fits, it has to all the same.
        cursor.execute("SET LOCAL enable_seqscan = off")
        values = {"worker": "", "lease_s": 1, "receiver": made[0].receiver_id, "count": 2}
        for statement in (dispatch._CLAIM_OLDEST, dispatch._CLAIM_NEWEST):
            cursor.execute(f"EXPLAIN {statement}", values)
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "callback_due" in plan, plan
            assert "Seq Scan on webhooks_callback" not in plan, plan
    assert Receiver.objects.count() == 1
