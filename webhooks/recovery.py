"""The sweep of callbacks: what a dead sender had in hand, and receivers that nobody would look at in time.

Both parts are safe to run at any time, twice at once, and after any crash.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import structlog

from webhooks import counters, dispatch, receivers

log = structlog.get_logger(__name__)

STEP_S = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """What one sweep set right."""

    expired_leases: int
    forgotten_receivers: int


def sweep(*, step_s: float = STEP_S) -> Found:
    """Set right what was lost, for about `step_s`: the next sweep goes on. Returns what it found."""
    found = Found(_expire_leases(stop_at=time.monotonic() + step_s), wake_forgotten())
    for kind, number in asdict(found).items():
        counters.SWEEP_FOUND.labels(kind).inc(number)
    if found.expired_leases or found.forgotten_receivers:
        log.info("callbacks_swept", expired_leases=found.expired_leases, forgotten_receivers=found.forgotten_receivers)
    return found


def _expire_leases(*, stop_at: float) -> int:
    expired = step = dispatch.expire_leases()
    while step == dispatch.SWEEP_STEP and time.monotonic() < stop_at:
        expired += (step := dispatch.expire_leases())
    return expired


def wake_forgotten() -> int:
    """Wake receivers that would be served later than a callback of theirs is due. Returns how many there were."""
    found = receivers.forgotten()
    if found:
        receivers.wake(found)
    return len(found)
