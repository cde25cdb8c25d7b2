"""Ending a call that takes too long, from outside the call."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

CLOCK_STEP_S = 0.001  # that the timer's clock may be ahead of ours


class InputTimeout(BaseException):
    """An input is past its time limit. Not an `Exception`, so that an action's `except Exception` lets it pass."""


class Alarm:
    """The process's one interval timer. Works in the main thread, where Python runs signal handlers.

    It stops what sleeps, waits or spins in Python; code in C stops when it returns to Python. Of many short calls one
    after the other each has its limit, and few set the timer: one that goes off too soon is set anew.
    """

    def __init__(self) -> None:
        self._armed = False
        self._deadline = 0.0
        self._goes_off_at = float("inf")
        self._may_raise: Callable[[], bool] | None = None

    def install(self) -> None:
        """Take SIGALRM. For the start of each batch: an action may have taken it for itself."""
        signal.signal(signal.SIGALRM, self._ring)
        self._goes_off_at = float("inf")

    def call(self, timeout_s: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `function` does. The timer runs on, unarmed, until the next call, or `cancel`.

        Raises:
            InputTimeout: it took longer than `timeout_s`.
        """
        self.arm(timeout_s)
        try:
            try:
                return function(*arguments)
            finally:
                self._armed = False
        except InputTimeout:
            # The alarm may have gone off between the end of the call and the line that disarms it.
            self._armed = False
            raise

    def arm(self, timeout_s: float, may_raise: Callable[[], bool] | None = None) -> None:
        """Go off once after `timeout_s`, raising in whatever runs then, if `may_raise` says so at that moment."""
        now = time.monotonic()
        self._may_raise = may_raise
        self._deadline = now + timeout_s
        self._armed = True
        if not now < self._goes_off_at <= self._deadline:  # in the past: somebody else has stopped it
            self._set(timeout_s)

    def disarm(self) -> None:
        """Raise nothing from now on."""
        self._armed = False

    def cancel(self) -> None:
        """Disarm it, and stop the timer."""
        self._armed = False
        self._goes_off_at = float("inf")
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _set(self, seconds: float) -> None:
        seconds = max(seconds, 0.001)
        self._goes_off_at = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        self._goes_off_at = float("inf")
        if not self._armed:
            return
        left_s = self._deadline - time.monotonic()
        if left_s > CLOCK_STEP_S:
            self._set(left_s)
        else:
            self._armed = False  # before the question, which may arm it again
            if self._may_raise is None or self._may_raise():
                raise InputTimeout


alarm = Alarm()


def interrupt_thread(thread: threading.Thread) -> None:
    """Ask a thread to end with `InputTimeout` at its next Python instruction; one that waits in C goes on waiting."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(InputTimeout))
