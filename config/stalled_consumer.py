"""Ending a worker that takes no messages any more, so that its supervisor starts it anew.

A worker whose broker was away may be connected again and yet take nothing, for ever and without an error
(celery/celery#8030, #8384, #10205). It lives, so nobody restarts it: and where it was the one of the `system` queue, no
sweep finds what was lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import redis
import structlog
from celery import signals
from celery.worker import state

from config.health import broker_client

log = structlog.get_logger(__name__)

LOOK_S = 3.0
PATIENCE_S = 36.0  # Celery waits up to 30 s between two tries to connect
EXIT_STATUS = 75  # EX_TEMPFAIL

_stopping = threading.Event()
_received = 0


def watch(queues: Collection[str], end: Callable[[], object], *, look_s: float, patience_s: float) -> None:
    """Look at a worker from within, until it stops; call `end` when it takes nothing although it could.

    That is when at each look, for `patience_s`, messages waited in its queues, it had nothing in hand, and had taken
    nothing since the look before.
    """
    seen, since = _received, None
    with broker_client() as broker:
        while not _stopping.wait(look_s):
            if state.reserved_requests or _received != seen or not _any_waits(broker, queues):
                seen, since = _received, None
                continue
            since = since or time.monotonic()
            if time.monotonic() - since >= patience_s:
                log.error("worker_takes_nothing", queues=sorted(queues), seconds=round(time.monotonic() - since))
                end()
                return


def _any_waits(broker: redis.Redis, queues: Collection[str]) -> bool:
    with suppress(redis.RedisError, OSError):
        return any(broker.llen(queue) for queue in queues)
    return False


@signals.worker_ready.connect
def _begin(sender: Any, **_: Any) -> None:
    queues = [queue.name for queue in sender.task_consumer.queues]
    options = {"look_s": LOOK_S, "patience_s": PATIENCE_S}
    threading.Thread(target=watch, args=(queues, _end), kwargs=options, daemon=True).start()


@signals.task_received.connect
def _note(**_: Any) -> None:
    global _received
    _received += 1


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()


def _end() -> None:
    """End at once: nothing is in hand, and the loop that a polite stop would go through may be what stands still."""
    from config.celery import kill_children  # which imports this module

    kill_children()
    os._exit(EXIT_STATUS)
