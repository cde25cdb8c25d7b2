"""What wakes senders: one ring of each that has more to do, and no crowd of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app

from webhooks import recovery, sender, tasks

# A task looks whether it is migrated.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("reachable")]
QUEUE = "webhooks"


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The broker's client, with nothing waiting for senders, and a process that has not rung yet."""
    monkeypatch.setattr(tasks, "_rang_at", float("-inf"))
    with current_app.connection_for_write() as broker:
        client = broker.default_channel.client
        client.delete(QUEUE)
        yield client
        client.delete(QUEUE)


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the next slices say, from the end on; of those that were asked for nothing is left."""
    says: list[bool] = []
    monkeypatch.setattr(sender, "send_slice", says.pop)
    return says


def test_who_found_something_rings_once_more(queue: Any, slices: list[bool]) -> None:
    slices[:] = [True]
    tasks.send()
    [message] = queue.lrange(QUEUE, 0, -1)
    headers = json.loads(message)["headers"]
    assert headers["task"] == "webhooks.send"
    assert "goes_on" in headers["kwargsrepr"]
    assert headers["expires"]


def test_who_found_nothing_does_not(queue: Any, slices: list[bool]) -> None:
    slices[:] = [False]
    tasks.send()
    assert queue.llen(QUEUE) == 0


def test_others_rings_are_not_needed_while_one_is_on_its_way(
    queue: Any, slices: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    slices[:] = [False, True, True]
    tasks.send()
    for _ in range(5):
        tasks.send()  # beat's
    assert (queue.llen(QUEUE), len(slices)) == (1, 2)
    tasks.send(goes_on=True)
    tasks.send()
    assert (queue.llen(QUEUE), len(slices)) == (2, 1)
    monkeypatch.setattr(tasks, "RING_COVERS_S", 0.0)  # it took too long: it was lost
    tasks.send()
    assert (queue.llen(QUEUE), len(slices)) == (2, 0)


def test_a_ring_that_fails_is_no_error_and_covers_nothing(
    queue: Any, slices: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError("no broker")

    monkeypatch.setattr(tasks.send, "apply_async", refuse)
    slices[:] = [True, True]
    tasks.send()
    tasks.send()
    assert slices == []


def test_the_sweep_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []
    monkeypatch.setattr(recovery, "sweep", lambda: called.append(True))
    tasks.sweep()
    assert called == [True]
