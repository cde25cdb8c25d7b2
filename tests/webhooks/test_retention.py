"""Receivers go when nobody has used them for as long as runs are kept, and not while anything names them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.webhooks.factories import callbacks, claim, receiver_of, record
from webhooks import receivers, removal, retention
from webhooks.models import Destination, Receiver
from webhooks.tasks import prune
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "https://receiver.test"
MONTH = timedelta(days=30)
DAY = timedelta(days=1)


def later(by: timedelta) -> Any:
    return timezone.now() + by


def test_one_goes_some_time_after_the_last_of_its_callbacks(workspace: Workspace) -> None:
    run_uid = uuid4()
    [made] = callbacks(workspace, run_uid=run_uid)
    assert retention.prune(now=later(2 * MONTH)) == 0  # it waits
    record(claim(), 200)
    receiver = receiver_of(made)
    assert receiver.wakes_at is None
    assert retention.prune(now=later(2 * MONTH)) == 0  # its run is there, and may be replayed
    removal.remove(run_uid)
    Destination.objects.all().delete()
    assert retention.prune(now=later(MONTH - DAY)) == 0
    kept = receivers.receiver_of(workspace, "https://another.test")
    Receiver.objects.filter(pk=receiver.pk).update(served_at=timezone.now() - MONTH - DAY)
    assert retention.prune() == 1
    assert [one.pk for one in Receiver.objects.all()] == [kept.pk]


def test_one_that_a_schedule_or_a_run_will_call_stays(workspace: Workspace) -> None:
    receiver = receivers.receiver_of(workspace, ORIGIN)
    Destination.objects.create(receiver=receiver, url=f"{ORIGIN}/hook", created_at=timezone.now())
    assert retention.prune(now=later(2 * MONTH)) == 0


def test_one_that_a_person_has_paused_stays_paused(workspace: Workspace) -> None:
    receiver = receivers.receiver_of(workspace, ORIGIN)
    receivers.pause(receiver, seconds=(2 * MONTH).total_seconds())
    assert retention.prune(now=later(MONTH + DAY)) == 0
    assert retention.prune(now=later(2 * MONTH + DAY)) == 1


def test_one_that_is_about_to_be_used_is_not_taken_away(
    workspace: Workspace, side_by_side: Callable[..., list[Any]]
) -> None:
    """A launch has the row in hand when the sweep comes, and stores what names it afterwards."""
    for _ in range(10):
        Receiver.objects.all().delete()
        Receiver.objects.create(workspace=workspace, origin=ORIGIN, served_at=timezone.now() - 2 * MONTH)
        found, _ = side_by_side(lambda: receivers.receiver_of(workspace, ORIGIN), retention.prune)
        retention.prune()
        assert [one.pk for one in Receiver.objects.all()] == [found.pk]


def test_they_stay_where_runs_stay(workspace: Workspace, settings: Any) -> None:
    settings.RUNYARD_RETENTION_DAYS = None
    receivers.receiver_of(workspace, ORIGIN)
    assert retention.prune(now=later(100 * MONTH)) == 0
    prune()
    assert Receiver.objects.count() == 1
