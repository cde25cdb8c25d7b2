"""Lines of a schedule's timeline go when runs would, and nothing else does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as configured

from actions import ActionDefinition
from schedules import firing, retention
from schedules.models import Fire, Schedule
from schedules.tasks import prune
from tests.factories import Member
from tests.schedules.planned import MINUTE, NOON, plan, told

pytestmark = pytest.mark.django_db
MONTH = timedelta(days=30)


def test_old_lines_go_and_the_schedule_stays(acme: Member, double: ActionDefinition) -> None:
    schedule = plan(by=acme)
    for minute in range(4):
        firing.tick(now=NOON + minute * MINUTE)
    assert retention.prune(now=NOON + MONTH + 2 * MINUTE) == 2
    assert [due_at for _, due_at, _ in told(schedule)] == [NOON + 2 * MINUTE, NOON + 3 * MINUTE]
    assert Schedule.objects.get().next_execution_at == NOON + 4 * MINUTE
    assert retention.prune(now=NOON + MONTH + 2 * MINUTE) == 0


def test_more_than_go_together(acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = plan(by=acme)
    Fire.objects.bulk_create(Fire(schedule=schedule, kind="MISSED", at=NOON) for _ in range(7))
    monkeypatch.setattr(retention, "DELETED_TOGETHER", 3)
    assert retention.prune(now=NOON + 2 * MONTH, step_s=0) == 3
    assert retention.prune(now=NOON + 2 * MONTH) == 4


def test_they_stay_where_runs_stay(acme: Member, double: ActionDefinition, settings: Any) -> None:
    assert configured.RUNYARD_RETENTION_DAYS == 30
    settings.RUNYARD_RETENTION_DAYS = None
    plan(by=acme)
    firing.tick(now=NOON)
    assert retention.prune(now=NOON + 100 * MONTH) == 0
    prune()
    assert Fire.objects.count() == 1
