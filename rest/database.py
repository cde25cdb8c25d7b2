"""The database connection of a request's thread, and locks on what has no row."""

from __future__ import annotations

import hashlib

from django.db import connection


def give_connection_back() -> None:
    """Give the thread's connection back to the pool it came from, before waiting for something else than the database.

    The next query takes another. Does nothing in a process whose threads keep connections of their own, nor inside a
    transaction.
    """
    if getattr(connection, "pool", None) is not None and not connection.in_atomic_block:
        connection.close()


def try_lock(name: str) -> bool:
    """Lock a name until the transaction ends. Returns False where another transaction holds it."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])
