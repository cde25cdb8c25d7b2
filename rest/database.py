"""The database connection of a request's thread."""

from __future__ import annotations

from django.db import connection


def give_connection_back() -> None:
    """Give the thread's connection back to the pool it came from, before waiting for something else than the database.

    The next query takes another. Does nothing in a process whose threads keep connections of their own, nor inside a
    transaction.
    """
    if getattr(connection, "pool", None) is not None and not connection.in_atomic_block:
        connection.close()
