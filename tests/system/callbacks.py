"""Callbacks over an installation of real processes: that they arrive whatever dies, and soon whoever else is dead.

`python -m tests.system.callbacks` runs the long versions: 1,000 inputs to a receiver that misbehaves while what sends
is killed three times, and a healthy receiver beside 5,000 callbacks for two that are dead.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.system.installation import PATIENCE_S, Installation, until
from tests.system.invariants import callback_violations
from tests.system.receiver import Receiver, badly, never

SENDER = "worker-webhooks"
HEALTHY_INPUTS = 5
HEALTHY_EVERY_S = 0.5

Say = Callable[[str], None]


def in_silence(line: str) -> None:
    """Say nothing."""


def secret_of(installation: Installation) -> str:
    """Return what the workspace's callbacks are signed with."""
    answer = installation.client.get("/v1/webhook-secret")
    assert answer.status_code == 200, answer.text
    return answer.json()["secret"]


def squares(numbers: Sequence[int], seconds: float = 0.0) -> list[dict[str, Any]]:
    """Return inputs that can be told apart by their numbers."""
    return [{"number": number, "seconds": seconds, "custom_data": {"n": number}} for number in numbers]


def have_arrived(installation: Installation, receiver: Receiver, run_uid: str) -> bool:
    """Whether the end has been told, and all that was made before is known to have arrived or was given up."""
    return any(one.is_final for one in receiver.arrivals(run_uid)) and not _undelivered(installation, run_uid)


def _undelivered(installation: Installation, run_uid: str) -> list[dict[str, Any]]:
    return installation.client.get(f"/v1/runs/callbacks?run_uid={run_uid}&status=PENDING,RUNNING&limit=3").json()


def wait_for_callbacks(installation: Installation, receiver: Receiver, run_uid: str, seconds: float) -> None:
    """Return when the run has ended and all of its callbacks have arrived."""
    installation.wait_for_end(run_uid, seconds)
    until(
        lambda: have_arrived(installation, receiver, run_uid),
        lambda: (
            f"{len(receiver.arrivals(run_uid))} arrived, {_undelivered(installation, run_uid)} did not\n"
            + installation.logs()
        ),
        seconds,
    )


# --- A receiver that misbehaves, and a sender that is killed


def survive(installation: Installation, *, inputs: int, kills: int, seconds: float, say: Say = in_silence) -> list[str]:
    """Call back about each input while the sender is killed again and again; return what is wrong in the end."""
    numbers = range(inputs)
    with Receiver(badly, secret=secret_of(installation)) as receiver:
        run_uid = installation.launch("square-slowly", squares(numbers, 0.01), callback={"url": receiver.url})
        for kill in range(1, kills + 1):
            share = inputs * kill // (kills + 1)
            until(lambda share=share: len(receiver.arrivals(run_uid)) >= share, installation.logs, seconds)
            installation.kill(SENDER)
            say(f"killed with {len(receiver.arrivals(run_uid))} arrived, {receiver.requests} requests made")
            installation.start(SENDER)
        wait_for_callbacks(installation, receiver, run_uid, seconds)
        say(f"{inputs} results by {receiver.requests} requests, {receiver.doubles} of them with what had come before")
        return callback_violations(installation, run_uid, numbers, receiver) + receiver.wrong


# --- Receivers that are dead


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """Keep a port that refuses connections: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def beside_the_dead(
    installation: Installation, *, pending: int, launches: int, seconds: float, say: Say = in_silence
) -> list[str]:
    """Launch for a healthy receiver beside `pending` callbacks for dead ones; return what is wrong.

    Says how long callbacks took to arrive, from the moment when they were made.
    """
    client = installation.client
    secret = secret_of(installation)
    with Receiver(secret=secret) as healthy, Receiver(never, secret=secret) as silent, refusing_port() as port:
        dead = {silent.origin: f"{silent.origin}/", f"http://127.0.0.1:{port}": f"http://127.0.0.1:{port}/"}
        doomed = [
            installation.launch("square", [{"number": number} for number in range(pending // 2)], callback={"url": url})
            for url in dead.values()
        ]
        runs = []
        for _ in range(launches):
            run_uid = installation.launch("square", squares(range(HEALTHY_INPUTS)), callback={"url": healthy.url})
            runs.append(run_uid)
            time.sleep(HEALTHY_EVERY_S)
        until(lambda: _are_paused(installation, dead), lambda: f"{_receivers(installation)}", seconds)
        last = installation.launch("square", squares(range(HEALTHY_INPUTS)), callback={"url": healthy.url})
        for run_uid in [*runs, last]:
            wait_for_callbacks(installation, healthy, run_uid, seconds)
        wrong = [] if _are_paused(installation, dead) else [f"not paused: {_receivers(installation)}"]
        left = {origin: _receivers(installation)[origin]["pending"] for origin in dead}
        wrong += [f"{count} of {pending // 2} are left for {origin}" for origin, count in left.items() if not count]
        delays = [delay for run_uid in [*runs, last] for delay in _delays(installation, healthy, run_uid)]
        say(f"{sum(left.values())} pending for the dead, which were sent {silent.requests} requests")
        say(f"{len(delays)} callbacks arrived after {_percentiles(delays)}")
        for run_uid in [*runs, last]:
            wrong += callback_violations(installation, run_uid, range(HEALTHY_INPUTS), healthy)
        wrong += healthy.wrong
        for run_uid in doomed:
            installation.wait_for_end(run_uid, seconds)
            assert client.request("DELETE", f"/v1/runs/{run_uid}").status_code == 409
            deleted = client.request("DELETE", f"/v1/runs/{run_uid}?force=true")
            assert deleted.status_code == 204, deleted.text
    return wrong


def _receivers(installation: Installation) -> dict[str, Any]:
    answer = installation.client.get("/v1/callback-receivers?limit=100")
    assert answer.status_code == 200, answer.text
    return {one["origin"]: one for one in answer.json()}


def _are_paused(installation: Installation, origins: Any) -> bool:
    found = _receivers(installation)
    return all(origin in found and found[origin]["status"] == "PAUSED" for origin in origins)


def _delays(installation: Installation, receiver: Receiver, run_uid: str) -> Iterator[float]:
    arrived = {one.ref_uid: one.at for one in receiver.arrivals(run_uid)}
    for one in installation.client.pages(f"/v1/runs/callbacks?run_uid={run_uid}&limit=100"):
        yield arrived[one["callback_ref_uid"]] - datetime.fromisoformat(one["created_at"]).timestamp()


def _percentiles(delays: Sequence[float]) -> str:
    ranked = sorted(delays)
    shares = {"p50": 0.5, "p95": 0.95, "at most": 1.0}
    return ", ".join(f"{name} {ranked[math.ceil(len(ranked) * share) - 1]:.2f} s" for name, share in shares.items())


# --- The long versions


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for and return 0 only if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.callbacks", description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=1_000, help="called back about while the sender is killed; 0: none"
    )
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--pending", type=int, default=5_000, help="callbacks for dead receivers; 0: none")
    parser.add_argument("--launches", type=int, default=60, help="for the healthy receiver beside them, two a second")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    wrong: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)

    with tempfile.TemporaryDirectory(prefix="runyard-callbacks-", ignore_cleanup_errors=True) as folder:
        installation = Installation(Path(folder))
        try:
            if asked.inputs:
                wrong += survive(installation, inputs=asked.inputs, kills=asked.kills, seconds=5 * PATIENCE_S, say=say)
            if asked.pending:
                wrong += beside_the_dead(
                    installation, pending=asked.pending, launches=asked.launches, seconds=5 * PATIENCE_S, say=say
                )
        finally:
            installation.close()
    for one in wrong:
        say(f"WRONG: {one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
