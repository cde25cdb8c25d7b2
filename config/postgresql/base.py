"""Connections that are checked before each request or task, which costs no round trip, and fall together.

They die together: the server was restarted, or somebody terminated them. Django's own pool finds it out one by one and
waits longer each time, so that a request is answered 503 after two seconds although the database is back, and so is the
next, until all of up to thirty are through. Here it lets go of all idle ones as soon as one turns out dead.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any, ClassVar

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

ASKED_AGAIN_S = 5.0


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

    def is_usable(self) -> bool:
        """Return whether the connection can be used: what Django asks before the first query of a task.

        After an error the server is asked, whatever it answered before.
        """
        if not self.errors_occurred and _is_alive(self.connection):
            return True
        usable = super().is_usable()
        if usable:
            _note_answer(self.connection)
        return usable


def _check(connection: Any, pool: ConnectionPool[Any]) -> None:
    if _is_alive(connection):
        return
    try:
        ConnectionPool.check_connection(connection)
    except Exception:
        pool.drain()
        raise
    _note_answer(connection)


def _is_alive(connection: Any) -> bool:
    """Return whether a connection answered a moment ago and has heard nothing since: a server that ends it says so.

    A peer that is lost without a word is noticed by the next query either way, or by asking anew.
    """
    if (
        connection is None
        or connection.closed
        or connection.info.transaction_status != TransactionStatus.IDLE
        or time.monotonic() - vars(connection).get("answered_at", 0.0) > ASKED_AGAIN_S
    ):
        return False
    heard = select.poll()
    heard.register(connection.fileno(), select.POLLIN)
    return not heard.poll(0)


def _note_answer(connection: Any) -> None:
    vars(connection)["answered_at"] = time.monotonic()
