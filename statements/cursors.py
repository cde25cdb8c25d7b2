"""Cursors for the few statements that run for every request or batch, or carry much: values go beside the statement.

Django's own cursors write values into the statement's text, so that each is a new one to the server, which parses and
plans it anew. Statements of these are prepared once a connection has asked them often (`config.database`).
"""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper
from psycopg.pq import Format


def prepared_cursor() -> CursorWrapper:
    """Return a cursor that binds on the server, with results as Django's own cursors have them. Use it with `with`.

    The server knows a value's type from where it stands: one that stands alone (`SELECT %s`) needs a cast.
    """
    return _cursor(Format.TEXT)


def binary_cursor() -> CursorWrapper:
    """Return the same for packs, which are read in binary: as text they take twice their bytes, and are coded twice."""
    return _cursor(Format.BINARY)


def _cursor(form: Format) -> CursorWrapper:
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    is_logged = database.queries_logged
    cursor: Any = (_Unprepared if is_logged else ServerBindingCursor)(database.connection)  # type: ignore[call-arg]
    cursor.format = form
    return database.make_debug_cursor(cursor) if is_logged else database.make_cursor(cursor)


class _Unprepared(ServerBindingCursor):
    """For Django's log of queries: of a prepared statement a cursor knows no text."""

    def execute(self, query: Any, params: Any = None) -> Any:
        return super().execute(query, params, prepare=False)  # type: ignore[misc]
