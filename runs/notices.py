"""Telling a waiting caller that its run has ended, through Redis: a notice says "look", and nothing more.

Every notice may be lost, or come late. Who waits looks into the database from time to time all the same, so a broker
that is away makes a live call slower and changes nothing else.
"""

from __future__ import annotations

import functools
import time
import uuid

import redis
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

WAIT_S = 1.0
GIVE_UP_S = 1.0
PAUSE_WITHOUT_REDIS_S = 0.5  # all who wait look into the database as often
EXPIRES_S = 60


def post(run_uid: uuid.UUID) -> None:
    """Say that a run has ended. Gives up in about a second."""
    try:
        with _client().pipeline(transaction=False) as pipeline:
            pipeline.lpush(_name(run_uid), 1)
            pipeline.expire(_name(run_uid), EXPIRES_S)
            pipeline.execute()
    except (redis.RedisError, OSError) as error:
        log.warning("notice_not_posted", run_uid=str(run_uid), error=f"{type(error).__name__}: {error}")


def wait(run_uid: uuid.UUID) -> bool:
    """Wait a second for a run's notice. Returns False when none came, True also where Redis is away: then look."""
    try:
        return _client().blpop([_name(run_uid)], timeout=WAIT_S) is not None
    except (redis.RedisError, OSError):
        time.sleep(PAUSE_WITHOUT_REDIS_S)
        return True


def _name(run_uid: uuid.UUID) -> str:
    return f"runyard:ended:{run_uid}"


@functools.cache
def _client() -> redis.Redis:
    """Return the process's client. A connection serves one waiter at a time; the pool has one for each."""
    return redis.Redis.from_url(
        settings.REDIS_CLIENT_URL,
        socket_timeout=WAIT_S + GIVE_UP_S,
        socket_connect_timeout=GIVE_UP_S,
        retry=None,
    )
