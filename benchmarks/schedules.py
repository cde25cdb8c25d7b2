"""Schedules beside django-celery-beat, whose one periodic task for each schedule is the usual way.

Both begin what is due in this process, and nobody executes it. Ours stores 10,000 runs of 10 inputs with their batches,
tick after tick, as beat and the worker would. Theirs sends 1,000 messages and writes down when: what one of them takes
grows with how many there are. Then 100,000 of ours are idle; and one of theirs is changed, after which beat reads all
rows anew.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.report import Report
from devstack.temporary import TemporaryServers

if TYPE_CHECKING:
    from workspaces.models import Membership

DUE, IDLE = 10_000, 100_000
THEIRS = 1_000
TOGETHER = 1_000
INPUTS, BATCH_SIZE = 10, 5
IDLE_TICKS = 200


class Cost(NamedTuple):
    """In seconds: what a clock on the wall says, and this process's processor."""

    elapsed: float
    processor: float

    def __str__(self) -> str:
        return f"{self.elapsed:.1f} s, {self.processor:.1f} s of it this process's"


def main() -> None:
    """Measure and print."""
    servers = TemporaryServers(durable=True)
    try:
        os.environ.update(
            servers.environment,
            SECRET_KEY="only-for-benchmarks",
            RUNYARD_ACTIONS="benchmarks.sample_actions",
            RUNYARD_MAX_UNFINISHED_RUNS=str(10 * DUE),
            RUNYARD_MAX_SCHEDULES=str(2 * IDLE),
            LOG_LEVEL="WARNING",
        )
        _measure(_set_up())
    finally:
        servers.stop()


def _set_up() -> Membership:
    import django
    from django.core.management import call_command

    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    call_command("migrate", verbosity=0)
    from actions import catalogue
    from workspaces import keys

    catalogue.find("echo")
    return keys.ensure_membership(workspace_name="Benchmark", email="benchmark@example.test", role="ADMIN")


def _measure(membership: Membership) -> None:
    from schedules import firing

    report = Report("schedules")
    rows = []
    empty = _cost(lambda: [firing.tick() for _ in range(IDLE_TICKS)])
    rows.append(("a tick with nothing due, no schedules", f"{empty.elapsed / IDLE_TICKS * 1_000:.2f} ms"))
    for due in (DUE // 10, DUE):
        _make_ours(membership, due, is_due=True)
        ours = _cost(functools.partial(_fire_all, due))
        rows.append((f"{due:,} due at once", f"{ours}; {ours.elapsed / due * 1_000:.2f} ms each"))
        _forget()
    _make_theirs()
    theirs = _cost(_send_all)
    told = f"{theirs}; {theirs.elapsed / THEIRS * 1_000:.2f} ms each"
    rows.append((f"django-celery-beat, {THEIRS:,} periodic tasks due at once", told))
    _make_ours(membership, IDLE, is_due=False)
    idle = _cost(lambda: [firing.tick() for _ in range(IDLE_TICKS)])
    rows.append((f"a tick with {IDLE:,} idle", f"{idle.elapsed / IDLE_TICKS * 1_000:.2f} ms"))
    again = _cost(_read_all)
    rows.append((f"django-celery-beat reads {THEIRS:,} rows anew after a change", f"{again.elapsed * 1_000:,.0f} ms"))
    report.table(("what", "takes"), rows)
    report.write()


def _cost(do: Callable[[], Any]) -> Cost:
    began, worked = time.monotonic(), time.process_time()
    do()
    return Cost(time.monotonic() - began, time.process_time() - worked)


# --- Ours


def _make_ours(membership: Membership, count: int, *, is_due: bool) -> None:
    """Store schedules on the same inputs, due a second ago or next year."""
    from django.db import connection

    from runs.launch import AsyncLaunch
    from schedules import planning
    from schedules.clock import database_time
    from schedules.models import Schedule
    from schedules.when import When

    asked = AsyncLaunch(inputs=[{"text": str(n)} for n in range(INPUTS)], batch_size=BATCH_SIZE)
    prepared = planning.prepare(
        "echo", asked, When(cron="@yearly"), workspace=membership.workspace, user=membership.user
    )
    first = prepared.store()
    names = [field.attname for field in Schedule._meta.concrete_fields if field.attname not in ("id", "uid")]
    fields = {name: getattr(first, name) for name in names}
    now = database_time()
    fields["next_execution_at"] = now - timedelta(seconds=1) if is_due else now + timedelta(days=365)
    for _ in range(count // TOGETHER):
        Schedule.objects.bulk_create(Schedule(**fields) for _ in range(TOGETHER))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE schedules_schedule")


def _fire_all(due: int) -> None:
    from schedules import firing
    from schedules.models import Fire, FireKind

    while firing.tick():
        pass
    fired = Fire.objects.filter(kind=FireKind.FIRED).count()
    if fired != due:
        raise SystemExit(f"{fired} of {due} were fired")


def _forget() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE schedules_schedule, runs_run CASCADE")


# --- Theirs


def _make_theirs() -> None:
    from django.utils import timezone
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    yearly = IntervalSchedule.objects.create(every=365, period=IntervalSchedule.DAYS)
    long_ago = timezone.now() - timedelta(days=400)
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"peer {n}", task="peer", queue="peer", interval=yearly, last_run_at=long_ago)
        for n in range(THEIRS)
    )


def _send_all() -> None:
    from django_celery_beat.models import PeriodicTask
    from django_celery_beat.schedulers import DatabaseScheduler

    from config.celery import app

    scheduler = DatabaseScheduler(app=app)
    while scheduler.tick() == 0:  # one is sent; else it says how long to sleep
        pass
    scheduler.sync()
    sent = PeriodicTask.objects.filter(name__startswith="peer", total_run_count=1).count()
    if sent != THEIRS:
        raise SystemExit(f"{sent} of {THEIRS} were sent")


def _read_all() -> None:
    from django_celery_beat.schedulers import DatabaseScheduler

    from config.celery import app

    rows = DatabaseScheduler(app=app, lazy=True).all_as_schedule()
    if len(rows) < THEIRS:
        raise SystemExit(f"{len(rows)} rows were read")


if __name__ == "__main__":
    main()
