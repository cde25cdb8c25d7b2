"""A worker that takes no messages although it could ends, and none that works, waits or is cut off does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import signals
from celery.worker import state

from config import health, stalled_consumer
from devstack.processes import wait_until

QUEUE = "stalled-consumer-test"


@pytest.fixture
def broker() -> Iterator[redis.Redis]:
    with health.broker_client() as client:
        client.delete(QUEUE)
        yield client
        client.delete(QUEUE)


class Watched:
    """The watch of a worker that is this process."""

    def __init__(self) -> None:
        self.is_ended = threading.Event()
        options = {"look_s": 0.02, "patience_s": 0.3}
        watched = (["another", QUEUE], self.is_ended.set)
        self.thread = threading.Thread(target=stalled_consumer.watch, args=watched, kwargs=options)
        self.thread.start()


@pytest.fixture
def watched(broker: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(stalled_consumer, "_stopping", threading.Event())
    made = Watched()
    yield made
    signals.worker_shutting_down.send(sender=None)
    made.thread.join(5)
    assert not made.thread.is_alive()


def test_messages_that_nobody_takes_end_it(broker: redis.Redis, watched: Watched) -> None:
    assert not watched.is_ended.wait(0.6)  # nothing waits
    broker.lpush(QUEUE, "message")
    assert watched.is_ended.wait(10)


def test_who_has_something_in_hand_may_leave_the_rest(broker: redis.Redis, watched: Watched) -> None:
    state.reserved_requests.add(in_hand := _Request())
    broker.lpush(QUEUE, "message")
    assert not watched.is_ended.wait(0.6)
    state.reserved_requests.discard(in_hand)
    assert watched.is_ended.wait(10)


def test_who_takes_something_now_and_then_goes_on(broker: redis.Redis, watched: Watched) -> None:
    broker.lpush(QUEUE, "message")
    for _ in range(12):
        signals.task_received.send(sender=None)
        assert not watched.is_ended.wait(0.05)
    assert watched.is_ended.wait(10)


def test_a_broker_that_is_away_ends_nobody(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(stalled_consumer, "_stopping", threading.Event())
    settings.REDIS_CLIENT_URL = "redis://127.0.0.1:1/0"
    watched = Watched()
    assert not watched.is_ended.wait(0.6)
    assert watched.thread.is_alive()  # and looks on
    signals.worker_shutting_down.send(sender=None)
    assert wait_until(lambda: not watched.thread.is_alive(), 5)


class _Request:
    """In a set of Celery's, which holds weakly what is in it."""
