"""Beat's rows: made from the settings, then staff's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from config.beat import Scheduler
from config.celery import app

pytestmark = pytest.mark.django_db(transaction=True)  # beat looks after its connection itself
SWEEP = "Sweep: expired leases, due retries, lost wakes"


def start() -> Scheduler:
    """A scheduler as beat makes it when it starts."""
    return Scheduler(app=app, lazy=False)


def test_the_first_start_makes_the_rows() -> None:
    assert set(start().schedule) == set(settings.CELERY_BEAT_SCHEDULE)
    row = PeriodicTask.objects.get(name=SWEEP)
    assert (row.task, row.queue, row.expire_seconds, row.enabled) == ("runs.sweep", "system", 5, True)
    assert row.schedule.run_every == timedelta(seconds=1)


def test_what_staff_tuned_stays_through_a_start() -> None:
    start()
    slower, _ = IntervalSchedule.objects.get_or_create(every=7, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.filter(name=SWEEP).update(interval=slower, expire_seconds=20)
    assert start().schedule[SWEEP].schedule.run_every == timedelta(seconds=7)
    row = PeriodicTask.objects.get(name=SWEEP)
    assert (row.interval, row.expire_seconds) == (slower, 20)


def test_what_staff_switched_off_stays_off() -> None:
    start()
    PeriodicTask.objects.filter(name=SWEEP).update(enabled=False)
    assert SWEEP not in start().schedule
    assert not PeriodicTask.objects.get(name=SWEEP).enabled
