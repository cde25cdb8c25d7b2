"""How runs and batches stand, as `/metrics` tells it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionDefinition
from actions.models import Action
from runs import cancellation, dispatch, gauges, lifecycle
from runs.gauges import Unfinished
from runs.models import Batch, OutboxEntry, ReadyRun, Run
from tests.factories import Member, launch, numbers, work

pytestmark = pytest.mark.django_db


def aged(model: Any, seconds: int, **field: str) -> None:
    for name in field.values():
        model.objects.update(**{name: timezone.now() - timedelta(seconds=seconds)})


def test_unfinished_runs_by_action_mode_and_status(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch("double", numbers(1), by=acme)
    work()
    for _ in range(2):
        launch("double", numbers(1), by=acme)
    cancelled = launch("double", numbers(1), by=acme)
    cancellation.cancel(cancelled, by=lifecycle.SYSTEM, now=timezone.now())
    launch("double", numbers(1), by=acme, start_after=timezone.now() + timedelta(days=1))
    assert set(gauges.unfinished()) == {
        Unfinished("double", "ASYNC", "QUEUED", 2),
        Unfinished("double", "ASYNC", "STOPPED", 1),
        Unfinished("double", "ASYNC", "SCHEDULED", 1),
    }
    monkeypatch.setattr(gauges, "COUNTED_RUNS", 3)
    assert sum(one.runs for one in gauges.unfinished()) == 3


def test_batches_that_wait_and_for_how_long(acme: Member, double: ActionDefinition) -> None:
    assert gauges.ready() == []
    launch("double", numbers(10), by=acme, batch_size=2)
    launch("double", numbers(2), by=acme, batch_size=2)
    aged(ReadyRun, 90, field="waiting_since")
    (found,) = gauges.ready()
    assert (found.action_name, found.batches) == ("double", 6)
    assert 90 <= found.wait_s < 150
    Action.objects.update(paused=True)  # then no worker is what they wait for
    (found,) = gauges.ready()
    assert (found.batches, found.wait_s) == (6, 0)


def test_leases_that_nobody_sees_to(acme: Member, double: ActionDefinition) -> None:
    assert gauges.leased() == (0, 0)
    launch("double", numbers(2), by=acme)
    assert dispatch.claim(worker="one", actions=["double"], now=timezone.now())
    assert gauges.leased() == (1, 0)
    aged(Batch, 40, field="leased_until")
    found = gauges.leased()
    assert (found.batches, 40 <= found.overdue_s < 100) == (1, True)


def test_what_is_still_to_be_called_back(acme: Member, double: ActionDefinition) -> None:
    run: Run = launch("double", numbers(1), by=acme)
    OutboxEntry.objects.create(run=run, status="SUCCEEDED")
    OutboxEntry.objects.create(run=run, status="SUCCEEDED", is_held=True)
    aged(OutboxEntry, 70, field="created_at")
    found = gauges.outbox()
    assert (found.entries, 70 <= found.wait_s < 130) == (1, True)
