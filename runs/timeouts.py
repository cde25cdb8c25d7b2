"""Ending a call that takes too long, from outside the call."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class InputTimeout(BaseException):
    """An input is past its time limit. Not an `Exception`, so that an action's `except Exception` lets it pass."""


class Alarm:
    """The process's one interval timer. Works in the main thread, where Python runs signal handlers.

    It stops what sleeps, waits or spins in Python; code in C stops when it returns to Python.
    """

    def __init__(self) -> None:
        self._armed = False
        self._may_raise: Callable[[], bool] | None = None

    def install(self) -> None:
        """Take SIGALRM. For the start of each batch: an action may have taken it for itself."""
        signal.signal(signal.SIGALRM, self._ring)

    def call(self, timeout_s: float, function: Callable[[], Any]) -> Any:
        """Return what `function` does.

        Raises:
            InputTimeout: it took longer than `timeout_s`.
        """
        self.arm(timeout_s)
        try:
            try:
                return function()
            finally:
                self.disarm()
        except InputTimeout:
            # The alarm may have gone off between the end of the call and the line that disarms it.
            self.disarm()
            raise

    def arm(self, timeout_s: float, may_raise: Callable[[], bool] | None = None) -> None:
        """Go off once after `timeout_s`, raising in whatever runs then, if `may_raise` says so at that moment."""
        self._may_raise = may_raise
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, max(timeout_s, 0.001))

    def disarm(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False  # before the question, which may arm it again
            if self._may_raise is None or self._may_raise():
                raise InputTimeout


alarm = Alarm()


def interrupt_thread(thread: threading.Thread) -> None:
    """Ask a thread to end with `InputTimeout` at its next Python instruction; one that waits in C goes on waiting."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(InputTimeout))
