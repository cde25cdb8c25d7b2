"""The state machine of schedules itself: whoever moves one that has moved on meanwhile changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from actions import ActionDefinition
from schedules import lifecycle
from schedules.models import Schedule, ScheduleStatus
from tests.factories import Member
from tests.schedules.planned import NOON, again, plan

pytestmark = pytest.mark.django_db

S = ScheduleStatus
LATER = NOON + timedelta(days=1)


@pytest.fixture
def one_of_each(acme: Member, double: ActionDefinition) -> dict[str, Schedule]:
    """A schedule in each status."""
    due = {status: NOON if status == S.ACTIVE else None for status in S}
    return {status: plan(by=acme, status=status, next_execution_at=due[status]) for status in S}


def moved(schedules: dict[str, Schedule]) -> dict[str, tuple[Any, ...]]:
    """Those that have changed: what they are now, when they are due, and why not."""
    now = {was: again(schedule) for was, schedule in schedules.items()}
    return {
        was: (one.status, one.next_execution_at, one.last_error)
        for was, one in now.items()
        if one.updated_at != schedules[was].updated_at
    }


def test_only_active_ones_complete(one_of_each: dict[str, Schedule]) -> None:
    assert lifecycle.complete([schedule.pk for schedule in one_of_each.values()], now=LATER) == 1
    assert moved(one_of_each) == {S.ACTIVE: (S.COMPLETED, None, None)}


def test_only_active_ones_are_paused_for_a_reason(one_of_each: dict[str, Schedule]) -> None:
    error = {"label": "BAD_INPUT"}
    done = [lifecycle.pause_because(schedule.pk, error, now=LATER) for schedule in one_of_each.values()]
    assert done == [status == S.ACTIVE for status in one_of_each]
    assert moved(one_of_each) == {S.ACTIVE: (S.PAUSED, None, error)}
