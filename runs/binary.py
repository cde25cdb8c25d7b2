"""A cursor for the few statements that carry much or run for every batch: values go beside the statement, as they are.

Django's own cursors write values into the statement's text, and have results sent as text. A pack of inputs or results
takes twice its bytes that way, and is coded and decoded on both sides. Such statements are prepared as well
(`config.database`), where Django's are planned each time.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper
from psycopg.pq import Format


def binary_cursor() -> CursorWrapper:
    """Return a cursor on Django's connection that binds on the server, in binary. Use it with `with`.

    The server knows a value's type from where it stands: one that stands alone (`SELECT %s`) needs a cast.
    """
    connection.ensure_connection()
    cursor: Any = ServerBindingCursor(connection.connection)  # type: ignore[call-arg]
    cursor.format = Format.BINARY
    return connection.make_debug_cursor(cursor) if connection.queries_logged else connection.make_cursor(cursor)
