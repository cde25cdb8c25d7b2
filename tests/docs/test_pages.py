"""Every block of every page is run or checked. Its shell runs against a real `make run`, and answers what it shows."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs import markdown
from tests.docs.sessions import CHECKED, NOT_RUN, SESSIONS, Page, answers, pages, write_files

READY_S, SESSION_S, STOP_S = 150, 90, 20
PAGES = pages()
MARK = "-- next block --"
# What the shell of the tests says about servers and settings is not for this installation.
OTHERS = re.compile(r"RUNYARD_|DATABASE_URL|REDIS_URL|SECRET_KEY|DJANGO_SETTINGS_MODULE|PYTHONPATH|PORT$")


class Installation(NamedTuple):
    folder: Path
    port: int
    environment: dict[str, str]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """All processes of `make run`, with the actions of all pages, on a port and a home of their own."""
    folder = tmp_path_factory.mktemp("pages")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    modules = write_files(PAGES, folder)
    environment = {name: value for name, value in os.environ.items() if not OTHERS.match(name)} | {
        "PORT": str(port),
        "RUNYARD_HOME": str(folder / ".runyard"),
        "RUNYARD_ACTIONS": ",".join(modules),
        "PYTHONPATH": str(folder),
        "RUNYARD_RUNS_CONCURRENCY": "1",
        "RUNYARD_LIVE_CONCURRENCY": "1",
        "RUNYARD_WEB_PROCESSES": "1",
        "no_proxy": "localhost",
        "API": f"http://localhost:{port}/v1",
        "KEY_FILE": str(folder / ".runyard" / "api-key"),
    }
    screen = folder / "screen"
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
        yield Installation(folder, port, environment)
    finally:
        runner.terminate()
        runner.wait(STOP_S)


def _as_in_the_project(folder: Path) -> None:
    """Let a session find what stands in the project's folder."""
    for name, target in {
        ".runyard": folder.parent / ".runyard",
        ".venv": Path(sys.prefix),
        "manage.py": markdown.PROJECT / "manage.py",
        "docs": markdown.PROJECT / "docs",
    }.items():
        (folder / name).symlink_to(target)


@pytest.mark.timeout(READY_S + SESSION_S + STOP_S)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the sessions use curl")
@pytest.mark.parametrize("page", [page for page in PAGES if page.name in SESSIONS], ids=lambda page: page.name)
def test_a_session_works_as_printed(installation: Installation, page: Page) -> None:
    folder = installation.folder / page.folder
    _as_in_the_project(folder)
    steps = page.steps()
    script = f"echo '{MARK}'\n".join(step.script for step in steps)
    key = (folder / ".runyard" / "api-key").read_text().strip()
    session = subprocess.run(
        ["sh", "-eu"], input=script.replace("localhost:8000", f"localhost:{installation.port}"), cwd=folder,
        env=installation.environment | {
            "KEY": f"X-API-Key: {key}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        check=False, capture_output=True, text=True, timeout=SESSION_S,
    )  # fmt: skip
    printed = session.stdout.split(f"{MARK}\n")
    for step, found in zip(steps, printed, strict=False):
        if step.answer:
            assert answers(step.answer, found), f"{step.script}\nis to answer\n{step.answer}\nand answers\n{found}"
        assert '"error_label":"INTERNAL_ERROR"' not in found
    assert session.returncode == 0, f"{printed[-1]}\n{session.stderr}"
    assert len(printed) == len(steps)


def test_every_block_is_run_or_checked() -> None:
    unclaimed = {page.name: page.unclaimed() for page in PAGES}
    assert {name: blocks for name, blocks in unclaimed.items() if blocks} == {}


def test_what_is_set_aside_is_there() -> None:
    """Each entry of the lists stands for something, so that none outlives what it was about."""
    by_name = {page.name: page for page in PAGES}
    assert all(by_name[name].steps() for name in SESSIONS)
    for (name, start), reason in NOT_RUN.items():
        assert reason
        assert [block for block in by_name[name].blocks if block.text.startswith(start)], f"{name}: {start}"
    for name, languages in CHECKED.items():
        assert set(languages) <= {block.language for block in by_name[name].blocks}, name
        assert all((markdown.PROJECT / test).exists() for test in languages.values()), name


def test_lines_are_short_but_in_tables() -> None:
    wrong = [
        f"{file.name}: {line}"
        for file in markdown.files()
        for line in file.read_text().splitlines()
        if len(line) > 120 and not line.lstrip().startswith("|")
    ]
    assert wrong == []


def test_code_is_fenced() -> None:
    """Nothing escapes by being indented only."""
    wrong = [
        f"{file.name}: {line}"
        for file in markdown.files()
        for before, line in pairwise(markdown.prose(file.read_text()).splitlines())
        if not before and line.startswith("    ")
    ]
    assert wrong == []


def test_what_counts_as_an_answer() -> None:
    assert answers('[{"a":1,...},\n {"b":2}]\n', '[{"a":1,"x":[]},{"b":2}]')
    assert not answers('[{"a":1,...}]', '[{"a":2,"x":3}]')
    assert not answers("3", "3 4")
