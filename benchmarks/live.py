"""A live call over HTTP, stored with its timeline, beside Celery's `apply_async().get()`, which stores nothing.

Both have four worker processes, the same caller, and turns. Beside them what a caller of ours waits for in any case:
three durable commits (the launch, the claim, the result), measured alone.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Callable

import psycopg

from benchmarks.environment import Running, installation, process

CALLERS = (1, 50)
ROUNDS = 3
CALLS = {1: 100, 50: 500}  # of each in a round
INPUT = {"text": "hello"}
COMMITS = 3


def main() -> None:
    """Measure and print."""
    with installation(RUNYARD_LIVE_CONCURRENCY="4") as running:
        peer_url = f"{running.redis_url}?virtual_host=1"
        os.environ["PEER_URL"] = peer_url
        worker = [sys.executable, "-m", "celery", "-A", "benchmarks.celery_peer", "worker", "-c", "4"]
        with process([*worker, "--without-gossip", "--without-mingle"], {"PEER_URL": peer_url}):
            measure(running)


def measure(running: Running) -> None:
    """Print what both take, for one caller and for fifty at once."""
    ours, peers = _ours(running), _peers()
    for call in (ours, peers):
        _timed(call, callers=8, calls=80)  # everything that is made once
    commits = _commits(running.database_url)
    print(f"{COMMITS} durable commits alone: p50 {_at(commits, 50):.1f} ms")
    for callers in CALLERS:
        live: list[float] = []
        celery: list[float] = []
        for _ in range(ROUNDS):
            live += _timed(ours, callers=callers, calls=CALLS[callers])
            celery += _timed(peers, callers=callers, calls=CALLS[callers])
        print(f"{callers} caller{'s' if callers > 1 else ''} at once, {len(live)} calls of each:")
        for name, times in (("Runyard live", live), ("Celery get()", celery)):
            print(f"  {name}: p50 {_at(times, 50):.1f} ms, p95 {_at(times, 95):.1f} ms")
        print(f"  ratio: p50 {_at(live, 50) / _at(celery, 50):.1f}, p95 {_at(live, 95) / _at(celery, 95):.1f}")


def _ours(running: Running) -> Callable[[], object]:
    own = threading.local()
    body = json.dumps({"input": INPUT})
    headers = {"X-API-Key": running.key, "Content-Type": "application/json"}

    def call() -> object:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        own.connection.request("POST", "/v1/actions/echo/live", body=body, headers=headers)
        answer = own.connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {told.decode()}")
        return json.loads(told)

    return call


def _peers() -> Callable[[], object]:
    from benchmarks.celery_peer import make_app  # reads PEER_URL

    own = threading.local()

    def call() -> object:
        if not hasattr(own, "app"):
            own.app = make_app()
        return own.app.send_task("echo", [INPUT]).get(timeout=60)

    return call


def _timed(call: Callable[[], object], *, callers: int, calls: int) -> list[float]:
    """Return the milliseconds of each call, made by so many threads at once."""
    times: list[float] = []

    def work() -> None:
        for _ in range(calls // callers):
            started = time.perf_counter()
            if call() != INPUT:
                raise SystemExit("a wrong answer")
            times.append((time.perf_counter() - started) * 1000)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(times) != calls // callers * callers:
        raise SystemExit("a call failed")
    return times


def _commits(database_url: str) -> list[float]:
    times = []
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS benchmark_commit (n int)")
        connection.commit()
        for _ in range(100):
            started = time.perf_counter()
            for _ in range(COMMITS):
                connection.execute("INSERT INTO benchmark_commit VALUES (1)")
                connection.commit()
            times.append((time.perf_counter() - started) * 1000)
        connection.execute("DROP TABLE benchmark_commit")
        connection.commit()
    return times


def _at(times: list[float], percent: int) -> float:
    return sorted(times)[min(len(times) * percent // 100, len(times) - 1)]


if __name__ == "__main__":
    main()
