"""Cursors for the few statements that run for every request or batch, or carry much: values go beside the statement.

Django's own cursors write values into the statement's text, so that each is a new one to the server, which parses and
plans it anew. Statements of these are prepared once a connection has asked them often (`config.database`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper
from psycopg.pq import Format
from psycopg.raw_cursor import RawCursorMixin

MOST_HELD_BYTES = 64 * 1024  # by the cursor of a connection that waits for the next request


def prepared_cursor() -> CursorWrapper:
    """Return a cursor that binds on the server, with results as Django's own cursors have them. Use it with `with`.

    The server knows a value's type from where it stands: one that stands alone (`SELECT %s`) needs a cast.
    """
    return _kept_cursor(Format.TEXT)


def binary_cursor() -> CursorWrapper:
    """Return the same for results that are read in binary: packs, which take twice their bytes as text, and times.

    What `jsonb` holds comes parsed.
    """
    return _kept_cursor(Format.BINARY)


def numbered_cursor() -> CursorWrapper:
    """Return a prepared cursor for statements of more values than psycopg keeps read: they say `$1` and so on."""
    return _kept_cursor(Format.TEXT, _Numbered)


def binary_rows(statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return all rows of a statement, read in binary, which may hold much."""
    with binary_cursor() as cursor:
        cursor.execute(statement, values)
        rows = cursor.fetchall()
        if sum(len(value) for row in rows for value in row if isinstance(value, bytes)) > MOST_HELD_BYTES:
            cursor.close()
        return rows


class _Numbered(RawCursorMixin[Any, Any], ServerBindingCursor):
    pass


class _Kept(CursorWrapper):
    """One that stays open: a new one finds out for each type anew how its values are written and read."""

    def __exit__(self, *_: object) -> None:
        """Leave it to the next who asks. Until then it holds what it was asked last, and the answer."""


def _kept_cursor(form: Format, kind: type[ServerBindingCursor] = ServerBindingCursor) -> CursorWrapper:
    """Return the connection's one cursor of this kind: read what it found before another statement is executed."""
    database = _connected()
    if database.queries_logged:
        return _wrapped(_new(database, form, kind), database)
    kept = vars(database.connection).setdefault("kept_cursors", {})
    cursor = kept.get((form, kind))
    if cursor is None or cursor.closed:
        cursor = kept[form, kind] = _new(database, form, kind)
    return _Kept(cursor, database)


def _connected() -> BaseDatabaseWrapper:
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    return database


def _new(database: BaseDatabaseWrapper, form: Format, kind: type[ServerBindingCursor] = ServerBindingCursor) -> Any:
    cursor: Any = kind(database.connection)  # type: ignore[call-arg]
    cursor.format = form
    return cursor


def _wrapped(cursor: Any, database: BaseDatabaseWrapper) -> CursorWrapper:
    if not database.queries_logged:
        return database.make_cursor(cursor)
    cursor.execute = functools.partial(cursor.execute, prepare=False)  # of a prepared statement a cursor knows no text
    return database.make_debug_cursor(cursor)
