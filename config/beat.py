"""The scheduler that beat runs: django-celery-beat's, with a sign of life, and rows that stay as staff tuned them."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from celery.schedules import schedstate
from django.db import DatabaseError, InterfaceError, connection, transaction
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from config.health import note_process

log = structlog.get_logger(__name__)

SIGN_OF_LIFE_S = 2.0
LOOK_FOR_CHANGES_S = 1.0  # it would look before each task it sends, thirty times a second
LOOK_AGAIN_S = 60.0  # at a task whose clock cannot be read
_MAKING_ROWS = 7_281_943_006_512  # an advisory lock's key: any number that nobody else uses


class Entry(ModelEntry):
    """A periodic task's row. CELERY_BEAT_SCHEDULE makes it once; a later default reaches it by a migration."""

    @classmethod
    def from_entry(cls, name: str, app: Any = None, **entry: Any) -> Entry:
        """Return the entry of the row `name`, made from the settings' `entry` where there is none."""
        row = PeriodicTask.objects.filter(name=name).first()
        return cls(row, app=app) if row else super().from_entry(name, app=app, **entry)

    def is_due(self) -> schedstate:
        """Return whether it is due, and the seconds until the next look. What cannot be worked out is not due."""
        try:
            return super().is_due()
        except Exception as error:
            _log_clock(self.name, error)
            return schedstate(is_due=False, next=LOOK_AGAIN_S)


def make_rows(entries: Mapping[str, Any], *, app: Any = None) -> int:
    """Make the rows of periodic tasks that are missing, all or none, and return how many there were.

    One beat at a time: others that start at once would each make the intervals, of which django-celery-beat lets two
    be the same. An error is raised, where the scheduler would go on without the task.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_MAKING_ROWS])
        known = set(PeriodicTask.objects.filter(name__in=entries).values_list("name", flat=True))
        missing = [name for name in entries if name not in known]
        for name in missing:
            Entry.from_entry(name, app=app, **entries[name])
    return len(missing)


class Scheduler(DatabaseScheduler):
    """Reads the system's periodic tasks from the database and writes down that it is alive."""

    Entry = Entry
    _signed_at = 0.0
    _looked_at = float("-inf")

    def setup_schedule(self) -> None:
        """Make the rows that are missing, then read them all."""
        make_rows(self.app.conf.beat_schedule, app=self.app)
        super().setup_schedule()

    @property
    def schedule(self) -> Any:
        """The entries by name. While the database is away they are those that were read last.

        All rows are read every five minutes, and a scheduler that cannot would end with the error.
        """
        try:
            return super().schedule
        except (DatabaseError, InterfaceError) as error:
            if self._schedule is None:
                raise
            log.warning("schedule_not_read", error=str(error).strip())
            connection.close()
            self._last_full_sync = datetime.min  # at the next look, and not in five minutes
            return self._schedule

    def schedule_changed(self) -> bool:
        """Return whether rows have changed since the last look; in less than a second after it, False."""
        if time.monotonic() - self._looked_at < LOOK_FOR_CHANGES_S:
            return False
        self._looked_at = time.monotonic()
        return bool(super().schedule_changed())

    def all_as_schedule(self) -> dict[str, ModelEntry]:
        """Return the tasks that are switched on, without those whose clock cannot be read: the others are sent."""
        entries = {}
        for row in self.enabled_models():
            try:
                entries[row.name] = self.Entry(row, app=self.app)
            except (DatabaseError, InterfaceError):
                raise
            except Exception as error:
                _log_clock(row.name, error)
        return entries

    def tick(self, *args: object, **kwargs: object) -> float:
        """Send what is due, and return the seconds until the next look."""
        if time.monotonic() - self._signed_at >= SIGN_OF_LIFE_S:
            self._signed_at = time.monotonic()
            note_process(f"beat@{socket.gethostname()}", role="beat")
        return min(super().tick(*args, **kwargs), SIGN_OF_LIFE_S)


def _log_clock(name: str, error: Exception) -> None:
    log.error("periodic_task_left_out", task_name=name, error=f"{type(error).__name__}: {error}")
