"""Callbacks arrive, each result once and one end, whatever dies on the way, and whoever else is dead."""

from __future__ import annotations

import pytest

from tests.system import callbacks
from tests.system.callbacks import SENDER, squares, wait_for_callbacks
from tests.system.faults import broker
from tests.system.installation import PATIENCE_S, Installation
from tests.system.invariants import callback_violations
from tests.system.receiver import Receiver

NUMBERS = range(100)


def launch(installation: Installation, receiver: Receiver, **callback: str) -> str:
    return installation.launch("square-slowly", squares(NUMBERS, 0.01), callback={"url": receiver.url, **callback})


def test_a_sender_that_is_killed_and_a_receiver_that_misbehaves(breakable: Installation) -> None:
    assert callbacks.survive(breakable, inputs=200, kills=3, seconds=PATIENCE_S, say=print) == []


def test_a_dead_receiver_costs_others_nothing(breakable: Installation) -> None:
    assert callbacks.beside_the_dead(breakable, pending=2_000, launches=4, seconds=PATIENCE_S, say=print) == []


@pytest.mark.parametrize("per", ["input", "batch"])
def test_everything_waits_for_the_sender(breakable: Installation, per: str) -> None:
    """Runs end and are told of later, though all processes are killed and the broker forgets its messages meanwhile."""
    with Receiver(secret=callbacks.secret_of(breakable)) as receiver:
        breakable.stop(SENDER)
        run_uid = launch(breakable, receiver, per=per)
        assert breakable.wait_for_end(run_uid)["status"] == "SUCCEEDED"
        assert receiver.requests == 0
        for name in breakable.names:
            if name != SENDER:
                breakable.kill(name)
        broker(breakable).stop()
        breakable.restore()
        wait_for_callbacks(breakable, receiver, run_uid, PATIENCE_S)
        assert callback_violations(breakable, run_uid, NUMBERS, receiver) == []


def test_they_need_no_broker(breakable: Installation) -> None: ...
