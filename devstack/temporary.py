"""Servers for a test run: made in a temporary directory, gone with the process that asked for them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from devstack.home import Home
from devstack.servers import Servers

# Waits for the end of its standard input, which comes when the owner closes it or dies, however it dies.
GUARD = """
read -r _
kill -INT "$1"; kill -TERM "$2"
tries=0
while [ $tries -lt 50 ] && kill -0 "$1"; do sleep 0.1; tries=$((tries + 1)); done
rm -rf "$3" "$4"
"""


class TemporaryServers:
    """PostgreSQL and Valkey on temporary data, without durability unless it is asked for.

    `environment` names them (DATABASE_URL, REDIS_URL). `stop()` ends them; should the process be killed before it
    says so, a guard process does. PostgreSQL begins with a copy of the data directory `database`, or empty.
    """

    def __init__(self, *, durable: bool = False, database: Path | None = None) -> None:
        self._home = Home(Path(tempfile.mkdtemp(prefix="runyard-tests-")).resolve())
        self._servers = Servers.of(self._home, {}, durable=durable)
        self._guard: subprocess.Popen[bytes] | None = None
        self.folder = self._home.path
        if database and self._servers.postgres:
            shutil.copytree(database, self._servers.postgres.data)
        try:
            self._servers.start()
            self._guard = self._watch()
        except BaseException:
            self.stop()
            raise
        self.environment = self._servers.environment()

    @property
    def pids(self) -> list[int]:
        """The servers' process ids."""
        return [pid for server in self._servers.embedded() if (pid := server.pid()) is not None]

    def stop(self) -> None:
        """Stop the servers and remove all they kept."""
        self._servers.stop()
        if self._guard:
            self._guard.kill()
            self._guard.wait()
        shutil.rmtree(self._home.path, ignore_errors=True)
        shutil.rmtree(self._home.sockets, ignore_errors=True)

    def _watch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sh", "-c", GUARD, "guard", *map(str, self.pids), str(self._home.path), str(self._home.sockets)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
