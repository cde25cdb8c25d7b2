"""The embedded servers of one home, together: started, adopted, stopped, and named to the processes by URL."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack.home import Home
from devstack.postgres import Postgres
from devstack.valkey import Valkey

LOG_BYTES = 10_000_000


@dataclass(frozen=True)
class Servers:
    """The servers an installation needs that its environment does not name. None: the environment names it."""

    home: Home
    postgres: Postgres | None
    valkey: Valkey | None

    @classmethod
    def of(cls, home: Home, environment: Mapping[str, str] = os.environ, *, durable: bool = True) -> Servers:
        """Return the servers to embed: PostgreSQL unless DATABASE_URL is set, Valkey unless REDIS_URL is."""
        postgres = Postgres(home.path / "postgres", home.sockets, home.logs / "postgres.log", durable)
        valkey = Valkey(home.path / "valkey", home.sockets, home.logs / "valkey.log", durable)
        return cls(
            home,
            None if environment.get("DATABASE_URL") else postgres,
            None if environment.get("REDIS_URL") else valkey,
        )

    def _embedded(self) -> list[tuple[str, Postgres | Valkey]]:
        named: list[tuple[str, Postgres | Valkey | None]] = [("PostgreSQL", self.postgres), ("Valkey", self.valkey)]
        return [(name, server) for name, server in named if server is not None]

    def environment(self) -> dict[str, str]:
        """Return the variables that name these servers, whether or not they run."""
        urls: dict[str, str] = {}
        if self.postgres:
            urls["DATABASE_URL"] = self.postgres.url()
        if self.valkey:
            urls["REDIS_URL"] = self.valkey.url()
        return urls

    def missing(self) -> list[str]:
        """Return the names of the servers that do not answer."""
        return [name for name, server in self._embedded() if not server.answers()]

    def start(self) -> dict[str, bool]:
        """Start or adopt each server; the answer says by name which were adopted. Raises DevstackError."""
        self.home.create()
        for _, server in self._embedded():
            _bound(server.log)
        return {name: server.start() for name, server in self._embedded()}

    def pids(self) -> list[int]:
        """Return the process ids of the servers that run."""
        return [pid for _, server in self._embedded() if (pid := server.pid()) is not None]

    def stop(self) -> None:
        """Stop what runs, adopted servers included."""
        for _, server in self._embedded():
            server.stop()
        with contextlib.suppress(OSError):  # in use by a server of the other kind, or never made
            self.home.sockets.rmdir()


def _bound(log: Path) -> None:
    """Put a log that has grown large aside; the one before it goes."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))
