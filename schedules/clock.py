"""The clock that schedules go by: the database's, since each machine has its own idea of the time."""

from __future__ import annotations

from datetime import datetime

from django.db import connection


def database_time() -> datetime:
    """Return the time now, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
