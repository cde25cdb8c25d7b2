"""Ringing for the workers. A message says "wake" and nothing more: every one may be lost, doubled or late.

A ring that fails is not an error: the sweep rings again. So nobody who rings waits for a broker that is away.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

import structlog
from celery import current_app
from django.conf import settings
from kombu import Connection, pools

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bell:
    """Whom a ring wakes: the workers of a queue, by the task they then do."""

    queue: str
    task: str
    is_single: bool = False  # one that waits is enough: it does all there is, and rings again while there is more


RUNS = Bell("runs", "runs.wake")
LIVE = Bell("live", "runs.wake_live")
ANNOUNCE = Bell("webhooks", "runs.announce", is_single=True)
SEND = Bell("webhooks", "webhooks.send", is_single=True)

MAX_RINGS = 16  # more bells than that wake nobody sooner: each waking worker that finds work rings again
MAX_WAKES_WAITING = 1_000  # while no worker runs nobody takes them out, and what they tell of is in the database
PAUSE_AFTER_FAILURE_S = 2.0
EXPIRES_S = 60
LATEST_LOOKED_AT = 16  # of the messages in a queue that several bells share
# A worker with small batches writes a hundred checkpoints a second, and each rings: where nobody answers, or there is
# plenty of room, one look at the broker for all of them. Who is passed over waits for beat, a second at most.
LOOKED_AT_AGAIN_S = 0.2
RINGS_AHEAD_S = 5.0

_RING_OPTIONS: dict[str, Any] = {"retry": False, "expires": EXPIRES_S}
_GIVE_UP_FAST = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "retry_on_timeout": False,
    "max_retries": 0,
}

# Celery sets it too, but only when it makes a pool of its own.
pools.set_limit(settings.CELERY_BROKER_POOL_LIMIT)

_silent_until = 0.0
_waits_until: dict[Bell, float] = {}
"""For how long (monotonic) a bell is taken to need no more: a single one found waiting, one whose queue is full."""
_has_room_until: dict[Bell, float] = {}


def ring(times: int = 1, bell: Bell = RUNS) -> bool:
    """Wake up to `times` workers. Returns whether the broker took the messages; gives up in about a second."""
    return _send(bell, times)


def _send(bell: Bell, times: int, **options: Any) -> bool:
    global _silent_until
    if time.monotonic() < _silent_until:
        return False
    if time.monotonic() < _waits_until.get(bell, 0.0):
        return True
    try:
        with pools.producers[_pooled(current_app.conf.broker_write_url)].acquire(block=True, timeout=1) as producer:
            for _ in range(min(times, MAX_RINGS, _room(producer.channel, bell))):
                current_app.send_task(bell.task, queue=bell.queue, producer=producer, **_RING_OPTIONS, **options)
    except Exception as error:  # kombu, redis and socket errors alike: none of them is the caller's trouble
        _silent_until = time.monotonic() + PAUSE_AFTER_FAILURE_S
        log.warning("doorbell_failed", error=f"{type(error).__name__}: {error}")
        return False
    return True


def ring_after(seconds: float) -> bool:
    """Wake a worker of runs some seconds from now, when it is worth it: the sweep rings every second or so."""
    if not 0 < seconds < RINGS_AHEAD_S:
        return False
    return _send(RUNS, 1, countdown=seconds)


def count(bell: Bell = RUNS) -> int | None:
    """Return how many wakes of `bell` wait in the broker; None when it cannot say."""
    try:
        with _connection() as connection:
            return _waiting(connection.default_channel, bell)
    except Exception as error:
        log.warning("wakes_not_counted", error=f"{type(error).__name__}: {error}")
        return None


def _room(channel: Any, bell: Bell) -> int:
    """Return how many messages more are of any use."""
    if not bell.is_single:
        if time.monotonic() < _has_room_until.get(bell, 0.0):
            return MAX_RINGS
        room = MAX_WAKES_WAITING - _waiting(channel, bell)
        if room > MAX_WAKES_WAITING / 2:
            _has_room_until[bell] = time.monotonic() + LOOKED_AT_AGAIN_S
        elif room <= 0:
            _waits_until[bell] = time.monotonic() + LOOKED_AT_AGAIN_S
        return room
    latest = channel.client.lrange(bell.queue, 0, LATEST_LOOKED_AT - 1)
    if not any(f'"{bell.task}"'.encode() in message for message in latest):
        return 1
    _waits_until[bell] = time.monotonic() + LOOKED_AT_AGAIN_S
    return 0


def _waiting(channel: Any, bell: Bell) -> int:
    return int(channel.client.llen(bell.queue))


@functools.lru_cache(maxsize=1)
def _pooled(url: str) -> Connection:
    """Return what the pool of producers is known by. Making it takes as long as to send a message."""
    return _connection()


def _connection() -> Connection:
    return current_app.connection_for_write(
        transport_options={**current_app.conf.broker_transport_options, **_GIVE_UP_FAST}
    )
