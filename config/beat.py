"""The scheduler that beat runs: django-celery-beat's, with a sign of life."""

from __future__ import annotations

import socket
import time

from django_celery_beat.schedulers import DatabaseScheduler

from config.health import note_process

SIGN_OF_LIFE_S = 2.0


class Scheduler(DatabaseScheduler):
    """Reads the system's periodic tasks from the database and writes down that it is alive."""

    _signed_at = 0.0

    def tick(self, *args: object, **kwargs: object) -> float:
        """Send what is due, and return the seconds until the next look."""
        if time.monotonic() - self._signed_at >= SIGN_OF_LIFE_S:
            self._signed_at = time.monotonic()
            note_process(f"beat@{socket.gethostname()}", role="beat")
        return min(super().tick(*args, **kwargs), SIGN_OF_LIFE_S)
