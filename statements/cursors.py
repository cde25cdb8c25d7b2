"""Cursors for the few statements that run for every request or batch, or carry much: values go beside the statement.

Django's own cursors write values into the statement's text, so that each is a new one to the server, which parses and
plans it anew. Statements of these are prepared once a connection has asked them often (`config.database`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper
from psycopg.pq import Format
from psycopg.raw_cursor import RawCursorMixin


def prepared_cursor() -> CursorWrapper:
    """Return a cursor that binds on the server, with results as Django's own cursors have them. Use it with `with`.

    The server knows a value's type from where it stands: one that stands alone (`SELECT %s`) needs a cast.
    """
    return _cursor(Format.TEXT)


def binary_cursor() -> CursorWrapper:
    """Return the same for results that are read in binary: packs, which take twice their bytes as text, and times.

    What `jsonb` holds comes parsed.
    """
    return _cursor(Format.BINARY)


def binary_rows(statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return all rows of a statement, read in binary."""
    with binary_cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def numbered_cursor() -> CursorWrapper:
    """Return a prepared cursor for statements of more values than psycopg keeps read: they say `$1` and so on."""
    return _cursor(Format.TEXT, _Numbered)


def _cursor(form: Format, kind: type[ServerBindingCursor] = ServerBindingCursor) -> CursorWrapper:
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    cursor: Any = kind(database.connection)  # type: ignore[call-arg]
    cursor.format = form
    if not database.queries_logged:
        return database.make_cursor(cursor)
    cursor.execute = functools.partial(cursor.execute, prepare=False)  # of a prepared statement a cursor knows no text
    return database.make_debug_cursor(cursor)


class _Numbered(RawCursorMixin[Any, Any], ServerBindingCursor):
    pass
