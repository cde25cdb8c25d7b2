"""Asking about operating-system processes by their id, and waiting for them to end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.02


def alive(pid: int) -> bool:
    """Say whether the process runs. One that has ended and waits for its parent to notice does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return Path("/proc/self/stat").exists() is False
    return state not in (b"Z", b"X")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return True as soon as `condition()` holds, False when it still does not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def signal_process(pid: int, signal_number: int) -> None:
    """Send a signal; a process that is already gone is no error."""
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        pass


def signal_group(group: int, signal_number: int) -> None:
    """Send a signal to every process of a group; an empty group is no error."""
    try:
        os.killpg(group, signal_number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        pass


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log, for an error message; an absent log is an empty string."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
