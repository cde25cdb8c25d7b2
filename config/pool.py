"""Celery's pool of processes, but for how soon it notices one that died, one that stands still, and its own end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from celery.concurrency import asynpool, prefork

from config.celery import kill_children
from config.environment import worker_stop_s

log = structlog.get_logger(__name__)

LOOK_S = 0.5
# A worker that is told to stop needs less: config.celery ends its processes before.
ENDED_WITHIN_S = worker_stop_s() + 5.0
STANDS_STILL_S = 10.0  # longer than anybody stops a process whom he means to let go on


class Pool(asynpool.AsynPool):
    """Looks for dead processes twice a second.

    Celery hears of a death from a pipe, which closes before the process can be waited for, so that it often finds
    nobody dead; then it looks again after 5 s. That is how long a slot would be empty, and what was in hand lost.

    A process that was stopped (SIGSTOP), or stopped itself, is dead to all but the process table: no alarm and no
    watchdog of its own runs, its lease runs out, and its slot would be empty for ever. It is killed, so that another
    takes its place.
    """

    _pool: list[Any]  # the processes
    _still_since: dict[int, float] = {}

    @property
    def timers(self) -> dict[Callable[[], Any], float]:
        return {self.maintain_pool: LOOK_S, self.kill_those_that_stand_still: LOOK_S}

    def kill_those_that_stand_still(self) -> None:
        """Kill processes that have been stopped for STANDS_STILL_S (Linux)."""
        now = time.monotonic()
        still = [process.pid for process in self._pool if process.pid and is_stopped(process.pid)]
        self._still_since = {pid: self._still_since.get(pid, now) for pid in still}
        for pid, since in self._still_since.items():
            if now - since >= STANDS_STILL_S:
                log.error("process_killed", pid=pid, reason="it was stopped, and has stood still since")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class TaskPool(prefork.TaskPool):
    """Sees to it that a worker which stops comes to an end.

    Celery gives up on errors of its own (after a broken connection it may take the rest of one message for the next)
    and then waits for its processes without an end: a worker that does nothing, and that no supervisor replaces.
    """

    Pool = Pool

    def on_close(self) -> None:
        super().on_close()
        timer = threading.Timer(ENDED_WITHIN_S, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        log.error("worker_killed", reason="it did not come to an end")
        kill_children()
        os._exit(1)


def is_stopped(pid: int) -> bool:
    """Return whether a process was stopped by a signal, and not let go on."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    except (OSError, IndexError):  # it is gone, or this system has no such files
        return False
