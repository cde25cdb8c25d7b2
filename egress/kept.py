"""Connections that wait for the next request to the same scheme, host and port."""

from __future__ import annotations

import threading
import time

from egress.connections import Connection

MAX_KEPT = 100
MAX_AGE_S = 60.0
"""After which a name is resolved anew, so that a receiver that moved is found."""


class KeptConnections:
    """Those that are not in use, the last used at the end. One process's own: a fork does not share them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[Connection] = []

    def take(self, origin: tuple[str, str, int]) -> Connection | None:
        """Return a connection that is still good, or None."""
        with self._lock:
            self._drop_old()
            for connection in [kept for kept in reversed(self._kept) if kept.origin == origin]:
                self._kept.remove(connection)
                if connection.is_quiet:
                    return connection
                connection.close()
        return None

    def keep(self, connection: Connection) -> None:
        """Keep a connection whose last answer was read to its end."""
        with self._lock:
            self._kept.append(connection)
            self._drop_old()

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            for connection in self._kept:
                connection.close()
            self._kept.clear()

    def _drop_old(self) -> None:
        oldest = time.monotonic() - MAX_AGE_S
        beyond = len(self._kept) - MAX_KEPT
        for place, connection in enumerate(self._kept):
            if place < beyond or connection.opened_at < oldest:
                connection.close()
        self._kept = [connection for connection in self._kept if not connection.is_closed]
