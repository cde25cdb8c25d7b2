"""Beat's rows: made from the settings, then staff's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat import schedulers
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from config import beat
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


def test_a_change_is_seen_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A save says that there is one. What is due is sent by what was read last."""
    scheduler = start()
    assert SWEEP in scheduler.schedule
    row = PeriodicTask.objects.get(name=SWEEP)
    row.enabled = False
    row.save()
    with CaptureQueriesContext(connection) as asked:
        for _ in range(10):
            assert SWEEP in scheduler.schedule
    assert not asked.captured_queries
    monkeypatch.setattr(beat, "LOOK_FOR_CHANGES_S", 0)
    assert SWEEP not in scheduler.schedule


@pytest.fixture
def no_messages() -> Iterator[None]:
    """What beat sent in a test is taken out of the queues after it."""
    yield
    with app.connection_for_write() as broker:
        broker.default_channel.client.delete("system", "webhooks")


@contextmanager
def database_away() -> Iterator[None]:
    """As while it is restarted: whoever connects is refused."""
    connection.close()
    own, connection.settings_dict["NAME"] = connection.settings_dict["NAME"], "nowhere"
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = own


def test_all_rows_are_to_be_read_while_the_database_is_away(no_messages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It happens every five minutes, and is made up for as soon as the database is back."""
    scheduler = start()
    scheduler.tick()
    PeriodicTask.objects.filter(name=SWEEP).update(enabled=False)
    with database_away(), monkeypatch.context() as patch:
        patch.setattr(schedulers, "SCHEDULE_SYNC_MAX_INTERVAL", 0)
        for _ in range(3):
            scheduler.tick()
        assert set(scheduler.schedule) == set(settings.CELERY_BEAT_SCHEDULE)
    scheduler.tick()
    assert set(scheduler.schedule) == set(settings.CELERY_BEAT_SCHEDULE) - {SWEEP}


@pytest.fixture
def no_rows() -> Iterator[None]:
    """As in an installation that has just been migrated."""
    PeriodicTask.objects.all().delete()
    IntervalSchedule.objects.all().delete()
    return


def test_two_that_start_at_once_make_the_rows_once(no_rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    starters = 4
    ready = threading.Barrier(starters)

    def start_at_once() -> set[str]:
        try:
            ready.wait(30)
            return set(start().schedule)
        finally:
            connection.close()

    for _ in range(3):
        with ThreadPoolExecutor(starters) as pool:
            started = [pool.submit(start_at_once) for _ in range(starters)]
            assert [one.result(timeout=60) for one in started] == [set(settings.CELERY_BEAT_SCHEDULE)] * starters
        assert PeriodicTask.objects.count() == len(settings.CELERY_BEAT_SCHEDULE)
        seconds = sorted(int(entry["schedule"]) for entry in settings.CELERY_BEAT_SCHEDULE.values())
        assert list(IntervalSchedule.objects.order_by("every").values_list("every", flat=True)) == sorted(set(seconds))
        PeriodicTask.objects.all().delete()
        IntervalSchedule.objects.all().delete()


def test_an_error_while_rows_are_made_leaves_none(no_rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler itself would log it, and go on without the task."""
    wrong = {"Broken": {"task": "runs.sweep", "schedule": "not a schedule"}}
    entries = {**settings.CELERY_BEAT_SCHEDULE, **wrong}
    with pytest.raises(AttributeError, match="str"):
        beat.make_rows(entries, app=app)
    assert not PeriodicTask.objects.exists()
    assert transaction.get_connection().in_atomic_block is False


@pytest.mark.parametrize(
    "clock",
    [
        # What the admin takes no more, in an installation that has it; days too many for an interval, or for a date.
        {"interval": ("days", 2**31 - 1)},
        {"interval": ("days", 999_999_999)},
        {"crontab": ("30", "2")},  # a day that never comes
    ],
    ids=str,
)
def test_a_clock_that_cannot_be_read_stops_no_other_task(
    no_rows: None, clock: dict[str, tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beat.make_rows(settings.CELERY_BEAT_SCHEDULE, app=app)
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(days=1))
    PeriodicTask.objects.filter(name=SWEEP).update(**clock_of(**clock))
    sent: list[str] = []
    monkeypatch.setattr(Scheduler, "apply_async", lambda self, entry, **_: sent.append(entry.name))
    scheduler = start()
    for _ in range(3 * len(settings.CELERY_BEAT_SCHEDULE)):
        assert scheduler.tick() >= 0
    scheduler.sync()  # now, and not when the process ends
    assert set(sent) == set(settings.CELERY_BEAT_SCHEDULE) - {SWEEP}
    assert any("periodic_task_left_out" in line and SWEEP in line for line in caplog.messages)


def clock_of(*, interval: tuple[str, int] | None = None, crontab: tuple[str, str] | None = None) -> dict[str, Any]:
    if interval:
        period, every = interval
        return {"interval": IntervalSchedule.objects.create(every=every, period=period)}
    assert crontab
    day, month = crontab
    made = CrontabSchedule.objects.create(minute="0", hour="4", day_of_month=day, month_of_year=month)
    return {"interval": None, "crontab": made}


def test_every_task_has_an_end_to_its_waiting(no_rows: None) -> None:
    """So an hour without workers leaves no flood of old ticks behind."""
    start()
    for row in PeriodicTask.objects.all():
        assert row.expire_seconds is not None, row.name
        assert row.expire_seconds <= 60, row.name
        assert (row.queue in ("system", "webhooks"), row.enabled) == (True, True), row.name
