"""Quotas when many ask at the same moment: each saw the same room, and no more is stored than there was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from actions import ActionDefinition
from rest.errors import LimitReached
from runs.launch import AsyncLaunch, prepare_async
from runs.models import Run
from schedules import firing, planning
from schedules.clock import database_time
from schedules.models import FireKind, Schedule
from schedules.when import When
from tests.factories import Member, launch, numbers
from tests.schedules.planned import plan, told
from workspaces import quotas

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = 8
PATIENCE_S = 30


def prepared_run(by: Member) -> Any:
    asked = AsyncLaunch(inputs=numbers(1))
    return prepare_async("double", asked, workspace=by.workspace, user=by.user, now=timezone.now())


def prepared_schedule(by: Member) -> Any:
    asked = AsyncLaunch(inputs=numbers(1))
    return planning.prepare("double", asked, When(cron="@yearly"), workspace=by.workspace, user=by.user)


@pytest.mark.parametrize(
    ("setting", "prepare", "stored"),
    [
        ("RUNYARD_MAX_UNFINISHED_RUNS", prepared_run, Run),
        ("RUNYARD_MAX_SCHEDULES", prepared_schedule, Schedule),
    ],
)
def test_of_many_that_saw_the_same_room_no_more_are_stored_than_may_be(
    acme: Member,
    double: ActionDefinition,
    side_by_side: Callable[..., list[Any]],
    settings: Any,
    setting: str,
    prepare: Callable[[Member], Any],
    stored: Any,
) -> None:
    setattr(settings, setting, 3)
    together = threading.Barrier(AT_ONCE, timeout=PATIENCE_S)

    def store() -> bool:
        prepared = prepare(acme)
        together.wait()
        try:
            prepared.store()
        except LimitReached:
            return False
        return True

    was_stored = side_by_side(*[store] * AT_ONCE)
    assert was_stored.count(True) == stored.objects.count() == 3


def test_one_that_took_long_to_check_is_checked_again(
    acme: Member, double: ActionDefinition, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "AT_ONCE", 1)
    monkeypatch.setattr(quotas, "MOMENT_S", 0.0)
    monkeypatch.setattr(quotas, "LOOK_AGAIN_S", 0.0)
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 2
    prepared = prepared_run(acme)
    for _ in range(2):
        launch("double", numbers(1), by=acme)
    with pytest.raises(LimitReached):
        prepared.store()
    assert Run.objects.count() == 2


def test_a_tick_counts_what_is_being_launched(acme: Member, double: ActionDefinition, settings: Any) -> None:
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 1
    schedule = plan(by=acme, next_execution_at=database_time() - timedelta(seconds=1))
    ticking = threading.Thread(target=lambda: (firing.tick(), connection.close()))
    with transaction.atomic():
        launch("double", numbers(1), by=acme)
        ticking.start()
        ticking.join(0.5)  # it waits: what is stored here is not to be seen yet
    ticking.join(PATIENCE_S)
    assert [kind for kind, _, _ in told(schedule)] == [FireKind.SKIPPED]
    assert Run.objects.count() == 1
