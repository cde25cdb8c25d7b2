"""The timer that ends a process which is deaf to everything else, each time in a process of the test's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devstack.home import PROJECT

PATIENCE_S = 60.0  # bounds a wait; says nothing about how long anything should take

HOLD = """
import ctypes
mutex = ctypes.create_string_buffer(64)
libc = ctypes.PyDLL(None)
libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)
"""
SWALLOW = """
while True:
    try:
        time.sleep(0.01)
    except BaseException:
        pass
"""


def outcome(body: str) -> subprocess.CompletedProcess[str]:
    """Run `body` with a watchdog for inputs of 0.1 s that comes 0.2 s after that."""
    program = f"""
import threading, time
from runs import watchdog
watchdog.DEAF_AFTER_S, watchdog.ARMED_AHEAD_S = 0.2, 0.1
dog = watchdog.Watchdog(0.1)
{body}
print("lived")
"""
    return subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def watched(body: str) -> str:
    indented = "\n    ".join(body.strip().splitlines())
    return f"with dog.watching():\n    dog.note_start()\n    {indented}"


@pytest.mark.parametrize("body", [HOLD, SWALLOW], ids=["holds the interpreter", "swallows everything"])
def test_a_deaf_process_is_ended_and_says_where_it_was(body: str) -> None:
    ended = outcome(watched(body))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Timeout" in ended.stderr
    assert "most recent call first" in ended.stderr


def test_each_start_gives_more_time() -> None:
    body = "for _ in range(12):\n    time.sleep(0.1)\n    dog.note_start()"
    assert outcome(watched(body)).stdout == "lived\n"


def test_what_is_in_hand_is_watched_in_the_next_step_too() -> None:
    body = "with dog.watching():\n    dog.note_start()\nwith dog.watching():\n    time.sleep(1000)"
    assert outcome(body).returncode == 1


def test_recording_may_take_its_time() -> None:
    assert outcome(watched("pass") + "\ntime.sleep(1.5)").stdout == "lived\n"


def test_nothing_is_watched_before_an_input_is_started() -> None:
    assert outcome("with dog.watching():\n    time.sleep(1.5)").stdout == "lived\n"
