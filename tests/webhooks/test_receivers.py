"""Receivers in the database: turns, pauses, probes, and when each is looked at next."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from rest.errors import NotFound
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
from webhooks import dispatch, receivers, recovery
from webhooks.dispatch import Claim, Outcome
from webhooks.models import Callback, Receiver, ReceiverStatus
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)


def paused(workspace: Workspace, waiting: int = 5) -> list[Callback]:
    """Return the callbacks that wait for a receiver that is paused, none of them tried; ten more failed."""
    made = callbacks(workspace, 10 + waiting)
    record(claim(most=10), 500)
    assert receiver_of(made[0]).status == ReceiverStatus.PAUSED
    return made[10:]


def end_pause() -> None:
    past = timezone.now() - timedelta(seconds=1)
    Receiver.objects.update(paused_until=past, wakes_at=past)


def probe() -> Claim:
    end_pause()
    [claimed] = claim()
    assert claimed.is_probe
    assert claim() == []
    return claimed


def pause_s(receiver: Receiver) -> float:
    assert receiver.paused_until is not None
    return (receiver.paused_until - timezone.now()).total_seconds()


def test_what_is_known_after_some_attempts(workspace: Workspace) -> None:
    [made, *_] = callbacks(workspace, 4)
    for one, status in zip(claim(), (200, 200, 500, None), strict=True):
        record([one], status)
    receiver = receiver_of(made)
    assert (receiver.status, receiver.failures_in_row, receiver.last_error) == ("OK", 2, "No answer.")
    assert 0.97 < receiver.success_rate < 0.99
    assert receiver.served_at is not None


def test_a_receiver_that_keeps_failing_is_paused_and_nothing_else_is_sent(workspace: Workspace) -> None:
    waiting = paused(workspace)
    receiver = receiver_of(waiting[0])
    assert 0 < pause_s(receiver) <= 5
    assert receiver.wakes_at == receiver.paused_until
    assert claim() == []
    callbacks(workspace)  # new ones wait as well
    assert claim() == []
    assert receiver_of(waiting[0]).wakes_at == receiver.paused_until


def test_a_pause_holds_whatever_wakes_a_receiver(workspace: Workspace) -> None:
    waiting = paused(workspace)
    Receiver.objects.update(wakes_at=timezone.now() - timedelta(seconds=1))
    assert dispatch.claim(worker="me", room=lambda *_: 9) is None
    assert statuses() == {"PENDING": 15}
    assert receiver_of(waiting[0]).served_at is not None


def test_one_probe_at_a_time_and_each_pause_is_longer(workspace: Workspace) -> None:
    waiting = paused(workspace)
    for expected_s in (10, 20, 40):
        claimed = probe()
        assert pause_s(receiver_of(waiting[0])) > 15  # until it is recorded, or its sender is gone
        record([claimed], 503)
        assert expected_s - 5 < pause_s(receiver_of(waiting[0])) <= expected_s
    assert sum(len(one.attempts) for one in map(reread, waiting)) == 3  # the others lose none
    assert statuses() == {"PENDING": 15}


def test_every_other_probe_is_the_newest(workspace: Workspace) -> None:
    """An origin has several URLs: one that fails for ever must not be all that is tried."""
    waiting = paused(workspace)
    Callback.objects.exclude(pk__in=[one.pk for one in waiting]).delete()
    probed = []
    for _ in range(4):
        claimed = probe()
        record([claimed], 500)
        probed.append(claimed.callback_id)
    keys = [one.pk for one in waiting]
    assert probed == [keys[0], keys[4], keys[1], keys[3]]


def test_a_success_brings_it_back_and_all_that_is_due_is_claimed(workspace: Workspace) -> None:
    waiting = paused(workspace)
    record([probe()], 200)
    receiver = receiver_of(waiting[0])
    assert (receiver.status, receiver.paused_until, receiver.failures_in_row) == ("OK", None, 0)
    claims = claim()
    assert len(claims) == 4
    assert {one.attempts for one in claims} == {0}
    assert not any(one.is_probe for one in claims)


def test_what_was_under_way_counts_too(workspace: Workspace) -> None:
    made = callbacks(workspace, 30)
    claims = claim()
    record(claims[:10], 500)
    until = receiver_of(made[0]).paused_until
    record(claims[10:20], 500)
    assert receiver_of(made[0]).paused_until == until  # one pause for all that failed together
    record(claims[20:21], 200)
    assert (receiver_of(made[0]).status, receiver_of(made[0]).paused_until) == ("OK", None)


def test_a_pause_begins_in_the_midst_of_what_is_recorded_together(workspace: Workspace) -> None:
    made = callbacks(workspace, 30)
    recorded = record(claim(), 500)
    assert recorded.paused == {made[0].receiver_id}
    assert receiver_of(made[0]).failures_in_row == 10
    assert pause_s(receiver_of(made[0])) <= 5


def test_a_probe_whose_sender_dies_is_followed_by_another(workspace: Workspace) -> None:
    waiting = paused(workspace)
    probe()
    expire()
    recovery.sweep()
    assert claim() == []  # until its lease would have been over
    assert probe().attempts == 0
    assert receiver_of(waiting[0]).status == "PAUSED"


def test_a_paused_receiver_with_nothing_due_is_not_probed(workspace: Workspace) -> None:
    [made] = paused(workspace, waiting=1)
    Callback.objects.exclude(pk=made.pk).delete()
    record([probe()], 500)
    receiver = receiver_of(made)
    assert receiver.wakes_at == max(reread(made).next_attempt_at, receiver.paused_until)
    Callback.objects.all().delete()
    end_pause()
    assert claim() == []
    assert Receiver.objects.get().wakes_at is None


def test_the_scale_multiplies_pauses(workspace: Workspace, settings: Any) -> None:
    settings.RUNYARD_CALLBACK_RETRY_SCALE = 100
    [made] = paused(workspace, waiting=1)
    assert 400 < pause_s(receiver_of(made)) <= 500


def test_other_receivers_and_workspaces_are_not_paused(workspace: Workspace) -> None:
    paused(workspace)
    elsewhere = callbacks(workspace, url="https://other.test/")
    others = callbacks(Workspace.objects.create(name="Globex"))
    assert {claim()[0].receiver_id, claim()[0].receiver_id} == {elsewhere[0].receiver_id, others[0].receiver_id}


def test_a_retry_is_looked_at_in_time(workspace: Workspace) -> None:
    made = callbacks(workspace, 3)
    claims = claim()
    for one, asked_s in zip(claims, (900.0, 300.0, 600.0), strict=True):
        dispatch.record([Outcome(one, attempt(503, retry_after_s=asked_s))])
    assert receiver_of(made[0]).wakes_at == reread(made[1]).next_attempt_at
    make_due()
    assert len(claim(most=1)) == 1
    assert receiver_of(made[0]).wakes_at <= timezone.now()


# --- What the sweep mends


def test_receivers_that_nobody_would_look_at_are_found(workspace: Workspace) -> None:
    forgotten = [callbacks(workspace, 2, url=f"https://{name}.test/")[0].receiver_id for name in "ab"]
    healthy = callbacks(workspace, url="https://c.test/")[0].receiver_id
    idle = receivers.receiver_of(workspace, "https://d.test").pk
    late = timezone.now() + timedelta(hours=1)
    for receiver_id, wakes_at in zip(forgotten, (None, late), strict=True):
        Receiver.objects.filter(pk=receiver_id).update(wakes_at=wakes_at)
    assert receivers.forgotten() == forgotten
    assert recovery.sweep().forgotten_receivers == 2
    assert recovery.sweep().forgotten_receivers == 0
    assert {claim()[0].receiver_id for _ in range(3)} == {*forgotten, healthy}
    assert Receiver.objects.get(pk=idle).wakes_at is None


def test_who_waits_for_a_retry_or_a_pause_is_not_forgotten(workspace: Workspace) -> None:
    paused(workspace)
    [made] = callbacks(workspace, url="https://other.test/")
    record(claim(), 500)
    assert receiver_of(made).wakes_at > timezone.now()
    assert receivers.forgotten() == []
    Receiver.objects.filter(pk=made.receiver_id).update(wakes_at=None)
    assert receivers.forgotten() == [made.receiver_id]
    recovery.wake_forgotten()
    assert claim() == []  # it was looked at, and nothing is due
    assert receiver_of(made).wakes_at == reread(made).next_attempt_at


def test_the_sweep_makes_lost_callbacks_due(workspace: Workspace) -> None:
    callbacks(workspace, 3)
    claim(most=2)
    assert recovery.sweep().expired_leases == 0
    expire()
    assert recovery.sweep().expired_leases == 2
    assert len(claim()) == 3


def test_the_sweep_goes_on_in_steps(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "SWEEP_STEP", 2)
    monkeypatch.setattr(dispatch.expire_leases, "__kwdefaults__", {"limit": 2})
    callbacks(workspace, 7)
    claim()
    expire()
    assert recovery.sweep(step_s=0).expired_leases == 2
    assert recovery.sweep(step_s=60).expired_leases == 5


def test_a_pause_by_hand_holds_for_its_time_whatever_was_under_way(workspace: Workspace) -> None:
    made = callbacks(workspace, 5)
    under_way = claim(most=2)
    receivers.pause(receiver_of(made[0]), seconds=900)
    record(under_way, 200)
    receiver = receiver_of(made[0])
    assert (receiver.status, receiver.failures_in_row) == (ReceiverStatus.PAUSED, 0)
    assert 890 < pause_s(receiver) <= 900
    assert receiver.wakes_at == receiver.paused_until
    assert claim() == []
    record([probe()], 200)
    assert receiver_of(made[0]).status == ReceiverStatus.OK
    assert len(claim()) == 2


def test_draining_ends_any_pause_and_all_that_is_due_is_claimed(workspace: Workspace) -> None:
    waiting = paused(workspace)
    receivers.drain(receiver_of(waiting[0]))
    receiver = receiver_of(waiting[0])
    assert (receiver.status, receiver.paused_until, receiver.failures_in_row) == ("OK", None, 0)
    claims = claim()
    assert len(claims) == 5
    assert not any(one.is_probe for one in claims)


def test_a_pause_by_hand_takes_the_place_of_another(workspace: Workspace) -> None:
    waiting = paused(workspace)
    receivers.pause(receiver_of(waiting[0]), seconds=900)
    receiver = receiver_of(waiting[0])
    assert pause_s(receiver) > 890
    assert (receiver.failures_in_row, receiver.last_error) == (0, "Paused by hand.")


def test_one_that_is_deleted_is_neither_paused_nor_drained(workspace: Workspace) -> None:
    receiver = receivers.receiver_of(workspace, "https://receiver.test")
    Receiver.objects.all().delete()
    for act in (lambda: receivers.pause(receiver, seconds=1), lambda: receivers.drain(receiver)):
        with pytest.raises(NotFound):
            act()
