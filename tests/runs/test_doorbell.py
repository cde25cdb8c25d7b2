"""Ringing: a message in the broker, and no harm where there is none."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import current_app
from kombu import pools

from actions import ActionDefinition
from runs import doorbell, tasks
from runs.models import Run
from tests.factories import Api, Member, launch, reread


@pytest.fixture(autouse=True)
def listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "_silent_until", 0.0)
    monkeypatch.setattr(doorbell, "_has_room_until", {})
    monkeypatch.setattr(doorbell, "_waits_until", {})


def broker_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_app.conf, "broker_url", url)
    monkeypatch.setattr(current_app.conf, "broker_write_url", url)


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def wakes(bell: Any) -> list[Any]:
    return [json.loads(message) for message in bell.lrange(doorbell.RUNS.queue, 0, -1)]


def test_a_ring_is_a_message_that_says_wake_and_nothing_more(bell: Any) -> None:
    assert doorbell.ring()
    (message,) = wakes(bell)
    assert message["headers"]["task"] == tasks.wake.name == "runs.wake"
    assert (message["headers"]["argsrepr"], message["headers"]["kwargsrepr"]) == ("()", "{}")
    assert message["headers"]["expires"]
    assert doorbell.count() == 1


@pytest.mark.parametrize(("times", "messages"), [(3, 3), (16, 16), (1_000, 16)])
def test_as_many_as_asked_for_within_a_bound(bell: Any, times: int, messages: int) -> None:
    assert doorbell.ring(times)
    assert len(wakes(bell)) == messages


def test_a_broker_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    broker_at("redis://127.0.0.1:1/0", monkeypatch)
    assert doorbell.ring() is False
    assert doorbell.count() is None


@pytest.mark.timeout(20)
def test_a_broker_that_is_silent(silent_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own time limit is far above the second it takes, and far below what the defaults would."""
    broker_at(silent_broker, monkeypatch)
    assert doorbell.ring() is False
    assert doorbell.count() is None


def test_after_a_failure_nobody_waits_for_a_while(monkeypatch: pytest.MonkeyPatch, bell: Any) -> None:
    with monkeypatch.context() as patch:
        broker_at("redis://127.0.0.1:1/0", patch)
        assert doorbell.ring() is False
    assert doorbell.ring() is False
    assert wakes(bell) == []
    monkeypatch.setattr(doorbell, "_silent_until", 0.0)
    assert doorbell.ring() is True


def test_from_any_thread(bell: Any) -> None:
    rung = []
    threads = [threading.Thread(target=lambda: rung.append(doorbell.ring())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (rung, len(wakes(bell))) == ([True] * 4, 4)


@pytest.mark.django_db
@pytest.mark.parametrize("batches", [1, 3])
def test_a_launch_rings_for_its_batches(acme: Member, double: ActionDefinition, bell: Any, batches: int) -> None:
    launch("double", [{"n": n} for n in range(batches)], by=acme, batch_size=1)
    assert len(wakes(bell)) == batches


@pytest.mark.django_db
def test_a_launch_does_not_need_the_broker(
    api: Api, double: ActionDefinition, silent_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker_at(silent_broker, monkeypatch)
    answer = api.post("/v1/actions/double/async", {"inputs": [{"n": 1}]})
    assert (answer.status_code, answer.json()["status"]) == (202, "QUEUED")
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_a_wake_rings_again_when_it_found_work(acme: Member, double: ActionDefinition, bell: Any) -> None:
    run = launch("double", [{"n": 1}], by=acme)
    bell.delete(doorbell.RUNS.queue)
    tasks.wake()
    assert reread(run).status == "SUCCEEDED"
    assert len(wakes(bell)) == 1
    bell.delete(doorbell.RUNS.queue)
    tasks.wake()
    assert wakes(bell) == []


def test_no_more_wakes_than_anybody_needs(bell: Any) -> None:
    """Without workers every launch would leave some behind."""
    bell.lpush(doorbell.RUNS.queue, *["a wake"] * (doorbell.MAX_WAKES_WAITING - 3))
    assert doorbell.ring(16)
    assert doorbell.count() == doorbell.MAX_WAKES_WAITING
    assert doorbell.ring()
    assert doorbell.count() == doorbell.MAX_WAKES_WAITING


def test_a_look_at_a_queue_that_has_room_holds_for_a_moment(bell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "LOOKED_AT_AGAIN_S", 1.0)
    assert doorbell.ring()
    bell.lpush(doorbell.RUNS.queue, *["a wake"] * doorbell.MAX_WAKES_WAITING)
    assert doorbell.ring()
    time.sleep(doorbell.LOOKED_AT_AGAIN_S)
    assert doorbell.ring()
    assert doorbell.count() == doorbell.MAX_WAKES_WAITING + 2


def test_so_does_one_at_a_queue_that_is_full(bell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "LOOKED_AT_AGAIN_S", 1.0)
    bell.lpush(doorbell.RUNS.queue, *["a wake"] * doorbell.MAX_WAKES_WAITING)
    assert doorbell.ring()
    bell.delete(doorbell.RUNS.queue, doorbell.LIVE.queue)
    assert doorbell.ring()
    assert doorbell.count() == 0
    assert doorbell.ring(bell=doorbell.LIVE)
    assert doorbell.count(doorbell.LIVE) == 1
    time.sleep(doorbell.LOOKED_AT_AGAIN_S)
    assert doorbell.ring()
    assert doorbell.count() == 1


def test_as_many_may_ring_at_once_as_there_are_threads(settings: Any, bell: Any) -> None:
    """Each holds its connection until all have one: whoever found none free would take the broker for away."""
    everybody = threading.Barrier(settings.RUNYARD_WEB_THREADS)

    def hold() -> bool:
        with pools.producers[doorbell._pooled(current_app.conf.broker_write_url)].acquire(block=True, timeout=10):
            everybody.wait(10)
        return True

    with ThreadPoolExecutor(settings.RUNYARD_WEB_THREADS) as threads:
        assert all(threads.map(lambda _: hold(), range(settings.RUNYARD_WEB_THREADS)))
