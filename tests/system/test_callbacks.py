"""Callbacks arrive, each result once and one end, whatever dies on the way, and whoever else is dead."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.system import callbacks
from tests.system.callbacks import SENDER, squares, wait_for_callbacks
from tests.system.faults import bring_broker_back_empty
from tests.system.installation import PATIENCE_S, Installation, until
from tests.system.invariants import callback_violations
from tests.system.receiver import Receiver

NUMBERS = range(100)


def launch(installation: Installation, receiver: Receiver, *, per: str = "input", input_s: float = 0.02) -> str:
    callback = {"url": receiver.url, "per": per}
    return installation.launch("square-slowly", squares(NUMBERS, input_s), callback=callback)


def assert_told(installation: Installation, receiver: Receiver, runs: Sequence[str]) -> None:
    """Wait until runs have been told of, and require that it is the truth."""
    for run_uid in runs:
        wait_for_callbacks(installation, receiver, run_uid, PATIENCE_S)
        assert callback_violations(installation, run_uid, NUMBERS, receiver) == []
    assert receiver.wrong == []


def test_a_sender_that_is_killed_and_a_receiver_that_misbehaves(breakable: Installation) -> None:
    assert callbacks.survive(breakable, inputs=120, kills=2, seconds=PATIENCE_S, say=print) == []


def test_a_dead_receiver_costs_others_nothing(breakable: Installation) -> None:
    assert callbacks.beside_the_dead(breakable, pending=1_000, launches=4, seconds=PATIENCE_S, say=print) == []


def test_what_is_in_the_outbox_waits(breakable: Installation) -> None:
    """For its worker, though the broker forgets all messages; and what a person cancelled waits until it goes on."""
    with Receiver(secret=callbacks.secret_of(breakable)) as receiver:
        breakable.kill(SENDER)
        cancelled = launch(breakable, receiver, input_s=0.1)
        ended = [launch(breakable, receiver, per=per) for per in ("input", "batch")]
        breakable.wait_for(cancelled, lambda run: run["succeeded_count"] > 0)
        assert breakable.client.post(f"/v1/runs/{cancelled}/cancel").json()["status"] == "STOPPED"
        for run_uid in ended:
            assert breakable.wait_for_end(run_uid)["status"] == "SUCCEEDED"
        assert receiver.requests == 0
        for _ in bring_broker_back_empty(breakable):
            pass
        breakable.restore()
        last = launch(breakable, receiver)
        assert_told(breakable, receiver, [*ended, last])  # whoever makes callbacks has looked at all by then
        assert receiver.arrivals(cancelled) == []
        assert breakable.client.get(f"/v1/runs/callbacks?run_uid={cancelled}").json() == []

        assert breakable.client.post(f"/v1/runs/{cancelled}/resume").status_code == 200
        assert_told(breakable, receiver, [cancelled])


def test_the_broker_is_away(breakable: Installation) -> None:
    with Receiver(secret=callbacks.secret_of(breakable)) as receiver:
        runs = [launch(breakable, receiver)]
        until(lambda: len(receiver.arrivals(runs[0])) >= 20, breakable.logs)
        for away_s in bring_broker_back_empty(breakable):
            runs.append(launch(breakable, receiver))
            time.sleep(away_s)
        assert_told(breakable, receiver, runs)
