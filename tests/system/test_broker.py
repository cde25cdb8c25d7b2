"""The broker is a doorbell: away, silent or emptied, it delays runs and loses none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from tests.system.installation import Installation


@contextmanager
def broker_away(installation: Installation) -> Iterator[None]:
    broker = installation.servers.valkey
    assert broker is not None
    broker.stop()
    assert broker.pid() is None
    try:
        yield
    finally:
        broker.start()


@contextmanager
def broker_silent(installation: Installation) -> Iterator[None]:
    """The broker accepts connections and never answers."""
    broker = installation.servers.valkey
    assert broker is not None
    pid = broker.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_launches_are_stored_while_the_broker_is_away(breakable: Installation) -> None:
    with broker_away(breakable):
        run_uids = [breakable.launch("square", [{"number": n}]) for n in range(3)]
        ready = breakable.client.get("/readyz")
        assert (ready.status_code, ready.json()["broker"]["ok"]) == (200, False)
    assert [breakable.wait_for_end(uid)["status"] for uid in run_uids] == ["SUCCEEDED"] * 3


def test_launches_are_stored_while_the_broker_is_silent(breakable: Installation) -> None:
    with broker_silent(breakable):
        run_uids = []
        for number in range(3):
            body = {"inputs": [{"number": number}]}
            answer = breakable.client.post("/v1/actions/square/async", json=body, timeout=5)
            assert answer.status_code == 202, answer.text
            run_uids.append(answer.json()["run_uid"])
    assert [breakable.wait_for_end(uid)["status"] for uid in run_uids] == ["SUCCEEDED"] * 3


def test_a_broker_that_goes_away_in_the_middle_is_not_missed(breakable: Installation) -> None:
    run_uid = breakable.launch("square-slowly", [{"number": n, "seconds": 0.01} for n in range(300)], batch_size=50)
    breakable.wait_for_executions(run_uid, 50)
    with broker_away(breakable):
        assert breakable.client.get(f"/v1/runs/{run_uid}").json()["status"] in ("RUNNING", "SUCCEEDED")
    assert breakable.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    assert len(breakable.executions(run_uid)) == 300


def test_an_emptied_broker_loses_no_run(breakable: Installation) -> None:
    run_uid = breakable.launch("square-slowly", [{"number": n, "seconds": 0.01} for n in range(900)], batch_size=50)
    breakable.wait_for_executions(run_uid, 100)
    assert breakable.servers.valkey is not None
    with redis.Redis(unix_socket_path=str(breakable.servers.valkey.socket)) as broker:
        for _ in range(5):
            broker.flushall()
            breakable.wait_for_executions(run_uid, min(len(breakable.executions(run_uid)) + 50, 900))
    launched_after = breakable.launch("square", [{"number": 1}])
    assert breakable.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    assert breakable.wait_for_end(launched_after)["status"] == "SUCCEEDED"
    assert len(breakable.executions(run_uid)) == 900
