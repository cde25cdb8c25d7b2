"""Dramatiq with Redis for broker and results."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = f"unix://{os.environ['PEER_REDIS']}?db=3"
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def echo(input: dict[str, Any]) -> dict[str, Any]:
    """Give the input back."""
    return input
