"""The README's session works as printed: its shell runs against a real `make run`, and answers what it shows."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs import markdown

READY_S, SESSION_S, STOP_S = 150, 90, 20
BLOCKS = markdown.blocks((markdown.PROJECT / "README.md").read_text())
MARK = "-- next block --"
# What the shell of the tests says about servers and settings is not for this installation.
OTHERS = re.compile(r"RUNYARD_|DATABASE_URL|REDIS_URL|SECRET_KEY|DJANGO_SETTINGS_MODULE|PYTHONPATH|PORT$")


class Installation(NamedTuple):
    folder: Path
    address: str


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """All processes of `make run`, with the README's action, on a port and a home of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (action,) = (block.text for block in BLOCKS if block.language == "python")
    (tmp_path / "my_actions.py").write_text(action)
    environment = {name: value for name, value in os.environ.items() if not OTHERS.match(name)}
    environment |= {
        "PORT": str(port),
        "RUNYARD_HOME": str(tmp_path / ".runyard"),
        "RUNYARD_ACTIONS": "my_actions",
        "PYTHONPATH": str(tmp_path),
        "RUNYARD_RUNS_CONCURRENCY": "1",
        "RUNYARD_WEB_PROCESSES": "1",
    }
    screen = tmp_path / "screen"
    with screen.open("wb") as out:
        runner = subprocess.Popen(
            [sys.executable, "-m", "devstack", "run"], cwd=markdown.PROJECT, env=environment, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + READY_S
        while "Runyard is ready" not in screen.read_text():
            assert runner.poll() is None, screen.read_text()
            assert time.monotonic() < deadline, screen.read_text()
            time.sleep(0.2)
        yield Installation(tmp_path, f"http://localhost:{port}")
    finally:
        runner.terminate()
        runner.wait(STOP_S)


def _answers(shown: str, printed: str) -> bool:
    """Say whether `printed` is what the README shows: `...` stands for anything, line breaks for none or some."""
    pattern = r"\s*".join(re.escape(word).replace(re.escape("..."), ".*?") for word in shown.split())
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def test_what_counts_as_an_answer() -> None:
    assert _answers('[{"a":1,...},\n {"b":2}]\n', '[{"a":1,"x":[]},{"b":2}]')
    assert not _answers('[{"a":1,...}]', '[{"a":2,"x":3}]')
    assert not _answers("3", "3 4")


@pytest.mark.timeout(READY_S + SESSION_S + STOP_S)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's session uses curl")
def test_the_session_works_as_printed(installation: Installation) -> None:
    shell = [block.text for block in BLOCKS if block.language == "sh"]
    script = f"echo '{MARK}'\n".join(shell).replace("http://localhost:8000", installation.address)
    session = subprocess.run(
        ["sh", "-eu"], input=script, cwd=installation.folder, env=os.environ | {"no_proxy": "localhost"}, check=False,
        capture_output=True, text=True, timeout=SESSION_S,
    )  # fmt: skip
    assert session.returncode == 0, session.stderr
    printed = session.stdout.split(f"{MARK}\n")
    assert len(printed) == len(shell)

    shown = [after for before, after in zip(BLOCKS, [*BLOCKS[1:], None], strict=True) if before.language == "sh"]
    for answer, expected in zip(printed, shown, strict=True):
        if expected and expected.language == "text":
            assert _answers(expected.text, answer), answer
