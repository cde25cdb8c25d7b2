"""Ending a process that is deaf to every time limit: it hangs in C with the interpreter's lock, or swallows the alarm.

The timer is a thread of C code that needs no lock. It writes every thread's traceback to the log and ends the process;
another takes its place.
"""

from __future__ import annotations

import faulthandler
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

DEAF_AFTER_S = 3.0  # past the time limit of an input of a batch: more than it takes to end what can be ended
ARMED_AHEAD_S = 1.0  # arming takes 50 us, so inputs of a millisecond share it


@contextmanager
def killed_after(seconds: float) -> Iterator[Callable[[], None]]:
    """End the process when what is inside takes longer. A process has one such timer: this does not nest.

    Yields what calls it off.
    """
    _arm(seconds)
    try:
        yield faulthandler.cancel_dump_traceback_later
    finally:
        faulthandler.cancel_dump_traceback_later()


def _arm(seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)


class Watchdog:
    """Ends the process when the input that was started last should have ended `DEAF_AFTER_S` ago.

    Only inside `watching()`, where the action is called: recording may take longer.
    """

    def __init__(self, timeout_s: float) -> None:
        self._longest_s = timeout_s + DEAF_AFTER_S
        self._started_at = float("-inf")
        self._kill_at = float("-inf")

    @contextmanager
    def watching(self) -> Iterator[None]:
        try:
            if self._started_at > float("-inf"):
                self._arm()
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._kill_at = float("-inf")

    def note_start(self) -> None:
        """Give the process time for one input more, from now."""
        self._started_at = time.monotonic()
        if self._kill_at < self._started_at + self._longest_s:
            self._arm()

    def _arm(self) -> None:
        now = time.monotonic()
        self._kill_at = max(self._started_at + self._longest_s + ARMED_AHEAD_S, now + DEAF_AFTER_S)
        _arm(self._kill_at - now)


class NoWatchdog:
    """For a call that something else watches."""

    def watching(self) -> AbstractContextManager[None]:
        return nullcontext()

    def note_start(self) -> None:
        pass
