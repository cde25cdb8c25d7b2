"""A pool that lets go of all its idle connections as soon as one of them turns out dead.

They die together: the server was restarted, or somebody terminated them. Django's own pool finds it out one by one and
waits longer each time, so that a request is answered 503 after two seconds although the database is back, and so is the
next, until all of up to thirty are through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    _connection_pools: ClassVar[dict[str, ConnectionPool[Any]]]  # these two are Django's
    _configure_connection: Callable[[Any], None]

    @property
    def pool(self) -> ConnectionPool[Any] | None:
        options = self.settings_dict["OPTIONS"].get("pool")
        if options and self.alias not in self._connection_pools:
            made: ConnectionPool[Any] = ConnectionPool(
                kwargs={**self.get_connection_params(), "autocommit": True},  # until Django sets it, as its own does
                open=False,
                configure=self._configure_connection,
                check=lambda connection: _check(connection, made),
                **options,
            )
            self._connection_pools.setdefault(self.alias, made)  # another thread may have been faster
        return super().pool


def _check(connection: Any, pool: ConnectionPool[Any]) -> None:
    try:
        ConnectionPool.check_connection(connection)
    except Exception:
        pool.drain()
        raise
