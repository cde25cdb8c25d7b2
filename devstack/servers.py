"""The embedded servers of one home, together: started, adopted, stopped, and named to the processes by URL."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack.home import Home
from devstack.postgres import Postgres
from devstack.server import EmbeddedServer
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

    def embedded(self) -> list[EmbeddedServer]:
        """Return the servers that are ours to run."""
        return [server for server in (self.postgres, self.valkey) if server is not None]

    def environment(self) -> dict[str, str]:
        """Return the variables that name these servers, whether or not they run."""
        urls: dict[str, str] = {}
        if self.postgres:
            urls["DATABASE_URL"] = self.postgres.url()
        if self.valkey:
            urls["REDIS_URL"] = self.valkey.url()
        return urls

    def start(self) -> list[str]:
        """Start or adopt each server. Returns the names of those adopted. Raises DevstackError."""
        self.home.create()
        for server in self.embedded():
            _bound(server.log)
        return [server.name for server in self.embedded() if server.start()]

    def dead(self) -> list[EmbeddedServer]:
        """Return the servers that no longer run."""
        return [server for server in self.embedded() if server.pid() is None]

    def stop(self) -> None:
        """Stop what runs, adopted servers included."""
        for server in self.embedded():
            server.stop()
        with contextlib.suppress(OSError):  # in use by a server of the other kind, or never made
            self.home.sockets.rmdir()


def _bound(log: Path) -> None:
    """Put a log that has grown large aside; the one before it goes."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))
