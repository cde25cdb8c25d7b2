"""What the workers and beat call: one verb, no logic."""

from __future__ import annotations

import time

import structlog
from celery import shared_task

from webhooks import recovery, retention, sender

log = structlog.get_logger(__name__)

RING_COVERS_S = 2.0
EXPIRES_S = 60

_rang_at = float("-inf")


@shared_task(name="webhooks.send", ignore_result=True)
def send(goes_on: bool = False) -> None:
    """Send callbacks for about a second, and ring once more when there may be more to do.

    Whoever else rings is not needed while a ring of our own, with `goes_on`, is on its way: each would make one more of
    them, and what else the workers of this queue have to do would wait behind them all.
    """
    global _rang_at
    if not goes_on and time.monotonic() < _rang_at + RING_COVERS_S:
        return
    _rang_at = time.monotonic() if sender.send_slice() and _ring() else float("-inf")


def _ring() -> bool:
    try:
        send.apply_async(kwargs={"goes_on": True}, queue="webhooks", retry=False, expires=EXPIRES_S)
    except Exception as error:  # kombu, redis and socket errors alike: beat rings soon
        log.warning("doorbell_failed", error=f"{type(error).__name__}: {error}")
        return False
    return True


@shared_task(name="webhooks.sweep", ignore_result=True)
def sweep() -> None:
    """Set right what is overdue or was lost."""
    recovery.sweep()


@shared_task(name="webhooks.prune", ignore_result=True)
def prune() -> None:
    """Delete some of the receivers that nobody uses."""
    retention.prune()
