"""`manage.py launch` and `watch`, from a shell without a terminal and on one."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

from devstack.home import PROJECT
from tests.system.installation import PATIENCE_S, Installation

UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_a_file_is_launched_and_followed_quietly(shared: Installation, tmp_path: Path) -> None:
    file = tmp_path / "numbers.csv"
    file.write_text("number\r\n2\r\n3\r\n")
    done = shared.manage("launch", "square", str(file), "--wait")
    assert UID.fullmatch(done.stdout.strip())
    assert done.stderr.startswith("SUCCEEDED: 2 of 2 inputs succeeded")
    assert done.stderr.count("\n") == 1  # no bar where nobody looks
    assert shared.client.outputs(done.stdout.strip()) == [{"number": 2, "square": 4}, {"number": 3, "square": 9}]


def test_inputs_come_from_standard_input(shared: Installation) -> None:
    done = shared.manage("launch", "refuse-odd", "-", "--wait", input=b'{"number": 2}\n{"number": 3}\n', expect=3)
    run_uid = done.stdout.strip()
    assert shared.client.get(f"/v1/runs/{run_uid}").json()["status"] == "PARTIAL_SUCCEEDED"
    again = shared.manage("watch", run_uid, expect=3)
    assert again.stdout == ""
    assert again.stderr.startswith("PARTIAL_SUCCEEDED: 1 of 2 inputs succeeded, 1 failed")


def test_a_mistake_is_told_in_a_line(shared: Installation) -> None:
    done = shared.manage("launch", "square", "-", input=b'{"number": 1}\n{"number":\n', expect=1)
    assert "Line 2" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_terminal_shows_a_bar(shared: Installation, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.jsonl"
    numbers.write_text("".join(json.dumps({"number": n, "seconds": 0.02}) + "\n" for n in range(100)))
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    command = [sys.executable, "manage.py", "launch", "square-slowly", str(numbers), "--wait"]
    with subprocess.Popen(
        command, cwd=PROJECT, env=shared.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=follower
    ) as launch:
        os.close(follower)
        shown = read_all(leader)
        assert launch.wait(PATIENCE_S) == 0
    assert "RUNNING" in shown
    assert re.search(r"\d+/100 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ inputs/s\]", shown), shown  # count, time left, rate
    assert "100/100" in shown
    assert shown.rstrip().splitlines()[-1].startswith("SUCCEEDED: 100 of 100")


def read_all(terminal: int) -> str:
    """Return what is written to a terminal until nobody has it open any more."""
    shown = b""
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            read = b""
        if not read:
            os.close(terminal)
            return shown.decode()
        shown += read
