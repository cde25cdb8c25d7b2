"""`make run` itself is killed in the middle of a run, and started again: nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.home import PROJECT, Home
from devstack.processes import carrying, tail, wait_until
from devstack.runner import MARKER
from tests.system.installation import PATIENCE_S, Client, Installation, free_port, until
from tests.system.invariants import violations
from tests.system.report import IN_FLIGHT, INPUT_S

READY_S = 120.0
NUMBERS = range(400)
SLOTS = 2


class UnderRunner(Installation):
    """An installation as `make run` runs it, servers included, on a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.port = free_port()
        self.trace = folder / "trace"
        self.trace.touch()
        self.screen = folder / "screen"
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ.get("PATH", os.defpath),
            "PORT": str(self.port),
            "TRACE": str(self.trace),
            "RUNYARD_HOME": str(self.home.path),
            "RUNYARD_ACTIONS": "tests.system.sample_actions",
            "RUNYARD_LEASE_SECONDS": "3",
            "RUNYARD_RUNS_CONCURRENCY": str(SLOTS),
            "RUNYARD_LIVE_CONCURRENCY": "1",
            "RUNYARD_WEB_PROCESSES": "1",
            "RUNYARD_RATE_LIMIT": "off",
        }

    def run(self) -> subprocess.Popen[bytes]:
        """Start the runner and return when it says that it is ready."""
        before = self.said()
        with open(self.screen, "ab") as screen:
            runner = subprocess.Popen(
                [sys.executable, "-m", "devstack", "run"], cwd=PROJECT, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=screen, stderr=screen,
            )  # fmt: skip
        until(lambda: self.said() > before or runner.poll() is not None, self.logs, READY_S)
        assert runner.poll() is None, self.logs()
        self.client = Client(f"http://127.0.0.1:{self.port}", self.home.api_key.read_text().strip())
        return runner

    def said(self) -> int:
        return self.screen.read_text().count("Runyard is ready") if self.screen.exists() else 0

    def logs(self, lines: int = 80) -> str:
        return tail(self.screen, lines)


@pytest.fixture
def under_runner(tmp_path: Path) -> Iterator[UnderRunner]:
    made = UnderRunner(tmp_path)
    yield made
    made.home.create()
    subprocess.run([sys.executable, "-m", "devstack", "stop"], cwd=PROJECT, env=made.environment, check=True)


def test_a_killed_runner_loses_nothing(under_runner: UnderRunner) -> None:
    runner = under_runner.run()
    try:
        run_uid = under_runner.launch(
            "square-slowly", [{"number": n, "seconds": INPUT_S} for n in NUMBERS], batch_size=200
        )
        under_runner.wait_for_executions(run_uid, 150)
        runner.kill()
        runner.wait()
        runner = under_runner.run()
        assert under_runner.wait_for_end(run_uid)["status"] == "SUCCEEDED"
        assert violations(under_runner, run_uid, NUMBERS) == []
        assert len(under_runner.executions(run_uid)) - len(NUMBERS) <= SLOTS * IN_FLIGHT
        after = under_runner.launch("square", [{"number": 1}])
        assert under_runner.wait_for_end(after)["status"] == "SUCCEEDED"
    finally:
        runner.terminate()
        runner.wait(PATIENCE_S)
    marker = f"{MARKER}={under_runner.home.path}"
    assert wait_until(lambda: not carrying(marker), PATIENCE_S), "processes were left behind"
