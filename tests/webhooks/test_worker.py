"""A real worker that is killed or told to stop in the midst of sending."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import current_app

from tests.webhooks.factories import callbacks, expire, statuses
from tests.webhooks.receiver import BlackHole, Receiver, answer
from tests.webhooks.worker import PATIENCE_S, Worker
from webhooks import recovery
from webhooks.models import Callback
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("reachable")]


@pytest.fixture
def worker(workspace: Workspace, tmp_path: Path, settings: Any) -> Worker:
    settings.RUNYARD_CALLBACK_THREADS = 8
    with current_app.connection_for_write() as broker:
        broker.default_channel.client.delete("webhooks")
    return Worker(tmp_path)


def until(worker: Worker, condition: Callable[[], bool]) -> None:
    """Ring until a condition holds, as beat does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, (statuses(), worker.log)
        worker.ring()
        time.sleep(0.2)


def refs(receiver: Receiver) -> Counter[str]:
    return Counter(body["callback_ref_uid"] for body in receiver.bodies())


def test_a_sender_that_is_killed_loses_nothing_and_repeats_what_was_in_flight(
    workspace: Workspace, worker: Worker
) -> None:
    hole = BlackHole()
    with Receiver(hole) as receiver, worker:
        made = callbacks(workspace, 60, url=receiver.url())
        until(worker, lambda: len(receiver.received) == 4)
        worker.kill()
        assert statuses() == {"RUNNING": 4, "PENDING": 56}
        hole.is_open.set()
        expire()
        assert recovery.sweep().expired_leases == 4
        worker.start()
        until(worker, lambda: statuses() == {"SUCCESS": 60})
    arrived = refs(receiver)
    assert set(arrived) == {str(one.ref_uid) for one in made}
    assert sorted(arrived.values()) == [1] * 56 + [2] * 4
    assert {len(one.attempts) for one in Callback.objects.all()} == {1}


def test_a_sender_that_is_told_to_stop_records_what_is_in_flight_and_hands_back_the_rest(
    workspace: Workspace, worker: Worker
) -> None:
    def slow(*asked: Any) -> None:
        time.sleep(0.3)
        answer()(*asked)

    with Receiver(slow) as receiver, worker:
        made = callbacks(workspace, 150, url=receiver.url())
        until(worker, lambda: len(receiver.received) > 8)
        worker.stop()
        done = statuses()
        assert done.get("RUNNING", 0) == 0, worker.log
        assert 8 < done["SUCCESS"] == len(receiver.received) < 150
        receiver.act = answer()
        worker.start()
        until(worker, lambda: statuses() == {"SUCCESS": 150})
    assert refs(receiver) == Counter(str(one.ref_uid) for one in made)


def test_a_sender_that_is_told_to_stop_does_not_wait_for_a_black_hole(workspace: Workspace, worker: Worker) -> None:
    with Receiver(BlackHole()) as receiver, worker:
        callbacks(workspace, 20, url=receiver.url())
        until(worker, lambda: len(receiver.received) == 4)
        assert worker.stop() < PATIENCE_S / 4  # well within its time limit for one attempt
        assert statuses() == {"PENDING": 20}, worker.log
