"""Rate limits: how often a key may call (contract section 0).

The window moves: at most so many requests in any second, minute, hour or day, wherever it begins. What is refused does
not count. Redis does the counting, by the scripts of the library `limits`; sent together they take one round trip,
where the library's own classes take two.

A counted request is answered with `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`: the second
since 1970 at which the oldest request in the window leaves it, so that one more is free. A Redis that does not answer
limits nobody: requests pass, uncounted and without these headers.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
import structlog
from django.conf import settings
from django.utils import timezone
from limits import (
    RateLimitItem,
    RateLimitItemPerDay,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
    RateLimitItemPerSecond,
)
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from rest.errors import RateLimited
from workspaces.authentication import Caller
from workspaces.models import ApiKey

log = structlog.get_logger(__name__)

GIVE_UP_S = 0.1
PAUSE_S = 5.0
PER = {"s": RateLimitItemPerSecond, "m": RateLimitItemPerMinute, "h": RateLimitItemPerHour, "d": RateLimitItemPerDay}


@dataclass(frozen=True, slots=True)
class Window:
    """How a key stands after a request: whether it was `allowed`, and how many more are, before `resets_at`.

    `resets_at` and `now` are seconds since 1970.
    """

    limit: int
    allowed: bool
    remaining: int
    resets_at: float
    now: float

    @property
    def retry_after_s(self) -> int:
        """Whole seconds after which a request is allowed again."""
        return max(1, math.ceil(self.resets_at - self.now))

    def headers(self) -> dict[str, str]:
        """Return what goes with the answer."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(math.ceil(self.resets_at)),
        }


class RateLimit(BaseThrottle):
    """Counts a request of an authenticated caller, whatever becomes of it, and puts the headers on its answer.

    Raises:
        RateLimited: the key has made as many requests as it may.
    """

    def allow_request(self, request: Request, view: Any) -> bool:
        """Return True, or raise."""
        rate = settings.RUNYARD_RATE_LIMIT
        if rate is None or not isinstance(request.auth, Caller):
            return True
        window = count_request(request.auth.key, rate, now=timezone.now())
        if window is None:
            return True
        view.headers.update(window.headers())
        if not window.allowed:
            raise _refusal(window, rate)
        return True


def count_request(key: ApiKey, rate: str, *, now: datetime) -> Window | None:
    """Count a request of `key` at `rate`, such as "600/m"; None where Redis is away and nothing is known."""
    item = _item(rate)
    return count(item, f"runyard:{item.key_for(key.uid.hex)}", now=now)


def count(item: RateLimitItem, name: str, *, now: datetime) -> Window | None:
    """Count something under `name`; None where Redis is away and nothing is known."""
    return _store(settings.REDIS_CLIENT_URL).count(item, name, now=now.timestamp())


def take_back(name: str) -> None:
    """Have what was counted last under `name` count no more."""
    _store(settings.REDIS_CLIENT_URL).take_back(name)


def _refusal(window: Window, rate: str) -> RateLimited:
    return RateLimited(
        f"This key has made as many requests as it may, {rate} (RUNYARD_RATE_LIMIT)."
        f" Try again in {window.retry_after_s} s.",
        {"limit": rate, "setting": "RUNYARD_RATE_LIMIT", "retry_after_s": window.retry_after_s},
        headers={"Retry-After": str(window.retry_after_s)},
    )


@functools.cache
def _item(rate: str) -> RateLimitItem:
    count, _, unit = rate.partition("/")
    return PER[unit](int(count), namespace="rate")


class _Store:
    """Redis for counting, from any thread. When it fails it is left alone for a while, and nobody waits for it."""

    def __init__(self, url: str) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=settings.RUNYARD_WEB_THREADS,  # a thread that finds none free would take Redis for away
            timeout=GIVE_UP_S,
            socket_timeout=GIVE_UP_S,
            socket_connect_timeout=GIVE_UP_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._client = redis.Redis(connection_pool=pool)
        self._failing = threading.Lock()
        self._left_alone_until = 0.0

    def count(self, item: RateLimitItem, name: str, *, now: float) -> Window | None:
        """Count a request under `name`, at `now` in seconds since 1970; None where there is no answer."""
        if time.monotonic() < self._left_alone_until:
            return None
        try:
            return self._ask(item, name, now)
        except (redis.RedisError, OSError) as error:
            self._leave_alone(error)
            return None

    def take_back(self, name: str) -> None:
        """Take the latest entry under `name` away, if Redis answers."""
        if time.monotonic() < self._left_alone_until:
            return
        try:
            self._client.lpop(name)
        except (redis.RedisError, OSError) as error:
            self._leave_alone(error)

    def _ask(self, item: RateLimitItem, name: str, now: float) -> Window:
        limit, period_s = item.amount, item.get_expiry()
        both: Any = self._client.pipeline(transaction=False)  # its types allow no numbers
        both.eval(RedisStorage.SCRIPT_ACQUIRE_MOVING_WINDOW, 1, name, now, limit, period_s, 1)
        both.eval(RedisStorage.SCRIPT_MOVING_WINDOW, 1, name, now - period_s, limit)
        allowed, window = both.execute()
        oldest, count = window or (now, 0)
        return Window(limit, bool(allowed), limit - int(count), float(oldest) + period_s, now)

    def _leave_alone(self, error: Exception) -> None:
        with self._failing:
            if time.monotonic() < self._left_alone_until:
                return  # another thread found out and has said so
            self._left_alone_until = time.monotonic() + PAUSE_S
        log.warning("requests_not_counted", pause_s=PAUSE_S, error=f"{type(error).__name__}: {error}")


@functools.cache
def _store(url: str) -> _Store:
    return _Store(url)
