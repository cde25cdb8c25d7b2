"""The pool that Celery's workers are made of: ours, with what it was made for."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from celery import current_app
from celery.concurrency import get_implementation
from celery.concurrency.asynpool import AsynPool

from config.pool import STANDS_STILL_S, Pool, TaskPool, is_stopped
from devstack.home import PROJECT
from devstack.processes import wait_until


def test_workers_look_for_dead_processes_in_less_than_a_second() -> None:
    assert get_implementation(current_app.conf.worker_pool) is TaskPool
    assert TaskPool.Pool is Pool
    pool = Pool.__new__(Pool)
    looks = AsynPool.timers.fget(pool)
    assert looks == {pool.maintain_pool: 5.0}, "Celery has changed what it does, and when"
    assert pool.timers[pool.maintain_pool] == 0.5


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as started:
        yield started
        started.kill()


def stop(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: is_stopped(child.pid), 10)


def look(pool: Pool, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, *, at: float) -> bool:
    """Have the pool look after its one process, and return whether that still lives."""
    monkeypatch.setattr("config.pool.time.monotonic", lambda: at)
    pool.kill_those_that_stand_still()
    monkeypatch.undo()
    return not wait_until(lambda: child.poll() is not None, 0.5)


@pytest.fixture
def pool(child: subprocess.Popen[bytes]) -> Pool:
    made = Pool.__new__(Pool)
    made._pool = [child]
    return made


def test_a_process_that_stands_still_for_long_is_killed(
    pool: Pool, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(child)
    assert look(pool, child, monkeypatch, at=100.0)
    assert look(pool, child, monkeypatch, at=100.0 + STANDS_STILL_S - 0.1)
    assert not look(pool, child, monkeypatch, at=100.0 + STANDS_STILL_S)
    assert child.returncode == -signal.SIGKILL


def test_a_process_that_goes_on_in_time_is_left_alone(
    pool: Pool, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(child)
    assert look(pool, child, monkeypatch, at=100.0)
    child.send_signal(signal.SIGCONT)
    assert wait_until(lambda: not is_stopped(child.pid), 10)
    assert look(pool, child, monkeypatch, at=100.0 + STANDS_STILL_S)
    stop(child)
    assert look(pool, child, monkeypatch, at=101.0 + STANDS_STILL_S)


def test_a_process_that_is_gone_does_not_stand_still(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    assert not is_stopped(child.pid)


STOPPING = """
import time
from config import pool
pool.ENDED_WITHIN_S = 0.1
stopping = pool.TaskPool.__new__(pool.TaskPool)
stopping._pool = None
stopping.on_close()
time.sleep(60)  # as it waits for processes of which it will never hear
"""


def test_a_worker_that_does_not_come_to_an_end_is_ended() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPING], cwd=PROJECT, capture_output=True, check=False, timeout=50)
    assert done.returncode == 1, done.stderr.decode()
    assert b"worker_killed" in done.stdout + done.stderr
