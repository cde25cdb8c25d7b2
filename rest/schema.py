"""Whether the database has the tables and columns that this code was written for.

New code may meet a database that is not migrated yet: it waits for it, and goes on without a restart.
"""

from __future__ import annotations

from django.db import ProgrammingError, connection
from django.db.migrations.loader import MigrationLoader

RETRY_AFTER_S = 5
_UNDEFINED = frozenset({"42P01", "42703"})  # SQLSTATEs: a table, a column

_is_current = False


def is_current() -> bool:
    """Return whether every migration of this code has run. Asked of the database until it once says so."""
    global _is_current
    _is_current = _is_current or not pending()
    return _is_current


def pending() -> list[str]:
    """Return the migrations of this code that have not run, as `app.name`."""
    loader = MigrationLoader(connection)
    return [".".join(key) for key in sorted(set(loader.graph.nodes) - set(loader.applied_migrations))]


def is_behind(exc: BaseException) -> bool:
    """Say whether a statement failed for want of a table or a column."""
    return isinstance(exc, ProgrammingError) and getattr(exc.__cause__, "sqlstate", "") in _UNDEFINED
