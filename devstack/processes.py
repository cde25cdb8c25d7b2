"""Asking about operating-system processes by their id, ending them, and seeing to it that they end with us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

POLL_SECONDS = 0.02
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def alive(pid: int) -> bool:
    """Say whether the process runs. One that has ended and waits for its parent to notice does not count."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours stays a zombie until it is asked about
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Say whether the process is one that its parent forgot: a container's first process may be no good parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except (OSError, IndexError):
        return False


def names_program(pid: int, program: str) -> bool:
    """Say whether the process's command line names `program`."""
    try:
        return program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:  # no /proc on this system
        done = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, check=False)
        return program.encode() in done.stdout


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return True as soon as `condition()` holds, False when it still does not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def end_process(pid: int, steps: Iterable[tuple[int, float]]) -> None:
    """Send one signal after the other, each with the seconds it is given, until the process is gone."""
    for signal_number, seconds in steps:
        signal_process(pid, signal_number)
        if wait_until(lambda: not alive(pid), seconds):
            return


def signal_process(pid: int, signal_number: int) -> None:
    """Send a signal; a process that is already gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)


def signal_group(group: int, signal_number: int) -> None:
    """Send a signal to every process of a group; an empty group is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses a group of zombies
        os.killpg(group, signal_number)


def end_with_parent() -> None:
    """In a child, before its program starts: ask the kernel to end it politely should its parent die (Linux)."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def carrying(marker: str) -> list[int]:
    """Return the other processes of this user whose environment holds `marker`, a `NAME=value` (Linux)."""
    wanted = os.fsencode(marker)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log, for an error message; an absent log is an empty string."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
