"""The scheduler that beat runs: django-celery-beat's, with a sign of life, and rows that stay as staff tuned them."""

from __future__ import annotations

import socket
import time
from typing import Any

from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from config.health import note_process

SIGN_OF_LIFE_S = 2.0


class Entry(ModelEntry):
    """A periodic task's row. CELERY_BEAT_SCHEDULE makes it once; a later default reaches it by a migration."""

    @classmethod
    def from_entry(cls, name: str, app: Any = None, **entry: Any) -> Entry:
        """Return the entry of the row `name`, made from the settings' `entry` where there is none."""
        row = PeriodicTask.objects.filter(name=name).first()
        return cls(row, app=app) if row else super().from_entry(name, app=app, **entry)


class Scheduler(DatabaseScheduler):
    """Reads the system's periodic tasks from the database and writes down that it is alive."""

    Entry = Entry
    _signed_at = 0.0

    def tick(self, *args: object, **kwargs: object) -> float:
        """Send what is due, and return the seconds until the next look."""
        if time.monotonic() - self._signed_at >= SIGN_OF_LIFE_S:
            self._signed_at = time.monotonic()
            note_process(f"beat@{socket.gethostname()}", role="beat")
        return min(super().tick(*args, **kwargs), SIGN_OF_LIFE_S)
