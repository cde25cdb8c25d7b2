"""What benchmarks run against: `make run` on a home of its own, and processes beside it, ended with the benchmark."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack.home import PROJECT, Home
from devstack.processes import end_with_parent
from devstack.servers import Servers

READY_S = 120


@dataclass(frozen=True)
class Running:
    """An installation that is ready."""

    port: int
    key: str
    database_url: str
    redis_url: str


@contextlib.contextmanager
def installation(**environment: str) -> Iterator[Running]:
    """Run everything on durable servers of its own, with the actions of `benchmarks.sample_actions`."""
    with tempfile.TemporaryDirectory(prefix="runyard-benchmark-") as folder:
        home = Home(Path(folder).resolve())
        port = free_port()
        added = {
            "RUNYARD_HOME": folder,
            "PORT": str(port),
            "RUNYARD_ACTIONS": "benchmarks.sample_actions",
            "RUNYARD_RATE_LIMIT": "off",
            **environment,
        }
        with process([sys.executable, "-m", "devstack", "run"], added):
            wait_until_ready(port)
            servers = Servers.of(home, {}).environment()
            yield Running(port, home.api_key.read_text().strip(), servers["DATABASE_URL"], servers["REDIS_URL"])


@contextlib.contextmanager
def process(command: list[str], added: Mapping[str, str]) -> Iterator[None]:
    """Run a program beside the benchmark; end it politely."""
    started = subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, **added}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent,
    )  # fmt: skip
    try:
        yield
    finally:
        started.send_signal(signal.SIGINT)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)


def wait_until_ready(port: int, path: str = "/readyz") -> None:
    """Wait until a web server says that all is well.

    Raises:
        SystemExit: it does not in time.
    """
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as told:
            if b'"ok":false' not in told.read():
                return
        time.sleep(0.5)
    raise SystemExit(f"not ready after {READY_S} s")


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
