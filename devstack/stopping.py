"""Ctrl-C and SIGTERM as a wish to be asked about, so that nothing is interrupted between a start and its record."""

from __future__ import annotations

import signal
from types import FrameType


class Stopped(Exception):
    """A person or the system asked for the end."""


class StopSignal:
    """Notes SIGINT, SIGTERM and SIGHUP from the moment it is made. Repeating them changes nothing."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, self._note)

    def check(self) -> None:
        """Raise Stopped once a stop was asked for."""
        if self.requested:
            raise Stopped

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
