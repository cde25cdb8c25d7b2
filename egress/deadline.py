"""A time limit on a whole request, held by shutting its socket down.

A socket's own timeout starts again with every read, so a server that sends a byte a second would never pass it. One
thread in each process watches all requests that are under way.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from types import TracebackType
from typing import Self

from egress.errors import TimedOut


class Deadline:
    """The end of a request's time. Inside its `with` block the socket under guard is shut down at that moment."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.at = time.monotonic() + timeout_s
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        _watch.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _watch.remove(self)
        self._replace(None)

    def remaining_s(self) -> float:
        """Return the seconds left, more than 0; raises TimedOut when there are none."""
        remaining_s = self.at - time.monotonic()
        if remaining_s <= 0:
            raise self.passed()
        return remaining_s

    def passed(self) -> TimedOut:
        """Return the error to raise when the time is over."""
        return TimedOut(f"There was no whole answer within {self.timeout_s:g} s.")

    def guard(self, connected: socket.socket) -> None:
        """Hold this connection to the deadline, and no longer the one before it."""
        # A descriptor of our own: TLS takes the socket's over, and whoever reads the answer may close it and so give
        # its number to another connection while we shut it down.
        self._replace(socket.fromfd(connected.fileno(), connected.family, connected.type))
        self.remaining_s()

    def expire(self) -> None:
        """Shut the guarded connection down, which ends whatever waits for it."""
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _replace(self, guarded: socket.socket | None) -> None:
        with self._lock:
            before, self._socket = self._socket, guarded
        if before is not None:
            before.close()


class Watch:
    """The deadlines that are running, and the thread that waits for the next one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Deadline] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            self._running.add(deadline)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif deadline.at < self._wakes_at:
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        with self._changed:
            self._running.discard(deadline)

    def _run(self) -> None:
        while True:
            for deadline in self._wait():
                deadline.expire()

    def _wait(self) -> list[Deadline]:
        """Return the deadlines that have come, after waiting for the next one or for one that is sooner."""
        with self._changed:
            self._wakes_at = min((deadline.at for deadline in self._running), default=math.inf)
            wait_s = min(max(0.0, self._wakes_at - time.monotonic()), threading.TIMEOUT_MAX)
            self._changed.wait(wait_s)
            now = time.monotonic()
            due = [deadline for deadline in self._running if deadline.at <= now]
            self._running.difference_update(due)
            return due


def _start_watch() -> None:
    global _watch
    _watch = Watch()


_watch: Watch
_start_watch()
# In a forked process the thread is not there, and the lock may be that of a thread which is not there either.
os.register_at_fork(after_in_child=_start_watch)
