"""How a receiver fares, and for how long it is left alone when it keeps failing (contract, section 3).

After ten failures in a row it is paused: 5 seconds, then a single callback probes it, then 10 seconds, and so on up to
five minutes. The first success ends that, and so does a probe's 410, which shows that it answers. Whatever is no
success speaks against a receiver: no answer, 5xx, 429, 3xx, and other 4xx too, since one that refuses everything would
have everything sent to it ten times. But not 410, which is about the one callback.

A pause that somebody began by hand (`webhooks.receivers.pause`) has fewer failures in a row than one that began by
itself. What was under way does not end it, and when it is over it is probed like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from webhooks import retries
from webhooks.delivery import Attempt
from webhooks.models import ReceiverStatus

FAILURES_IN_ROW = 10
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
WEIGHT = 1 / 100  # of one attempt in the success rate
MAX_ERROR_LENGTH = 500  # of the column


def speaks_against(attempt: Attempt) -> bool:
    """Return whether an attempt counts as a failure of its receiver."""
    return not attempt.is_success and not attempt.is_gone


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a receiver. `pause_s` is a pause that begins now.

    While it is paused `failures_in_row` counts on with each probe that failed, and not with what was still under way
    when the pause began: that says how long the next pause is.
    """

    status: str
    failures_in_row: int
    success_rate: float | None
    last_error: str
    pause_s: float | None = None

    @property
    def is_paused(self) -> bool:
        return self.status == ReceiverStatus.PAUSED

    @property
    def is_paused_by_hand(self) -> bool:
        return self.is_paused and self.failures_in_row < FAILURES_IN_ROW

    def after(self, attempt: Attempt, *, is_probe: bool) -> Standing:
        """Return what is known once an attempt has ended."""
        rate = _moved(self.success_rate, attempt.is_success)
        if self.is_paused_by_hand and not is_probe:
            return replace(self, success_rate=rate)
        if attempt.is_success or (attempt.is_gone and is_probe):
            return Standing(ReceiverStatus.OK, 0, rate, self.last_error)
        counts = speaks_against(attempt) and (is_probe or not self.is_paused)
        failures = self.failures_in_row + 1 if counts else self.failures_in_row
        error = (attempt.error or "")[:MAX_ERROR_LENGTH]
        if self.is_paused:
            return Standing(self.status, failures, rate, error, _pause_s(failures) if is_probe else self.pause_s)
        if failures < FAILURES_IN_ROW:
            return Standing(self.status, failures, rate, error)
        return Standing(ReceiverStatus.PAUSED, failures, rate, error, _pause_s(failures))


def _moved(rate: float | None, is_success: bool) -> float:
    value = 1.0 if is_success else 0.0
    return value if rate is None else rate + (value - rate) * WEIGHT


def _pause_s(failures_in_row: int) -> float:
    doublings = min(max(0, failures_in_row - FAILURES_IN_ROW), 10)
    return retries.scaled(min(FIRST_PAUSE_S * 2**doublings, LONGEST_PAUSE_S))
