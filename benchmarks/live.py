"""A live call over HTTP, stored with its timeline, beside Celery's `apply_async().get()` and beside a bare DRF view.

Celery stores nothing but the result, in Valkey; the bare view calls the function itself. All have four processes that
execute, the same callers, and turns. Beside them what a caller of ours waits for in any case: three durable commits
(the launch, the claim, the result), measured alone.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time

import psycopg

from benchmarks.callers import Call, at, caller, timed
from benchmarks.environment import Running, installation, process
from benchmarks.launch import bare_view
from benchmarks.report import Report
from benchmarks.rounds import interleave, shown
from devstack.temporary import TemporaryServers

CALLERS = (1, 50)
ROUNDS = 4
CALLS = {1: 60, 50: 400}  # of each in a round
INPUT = {"text": "hello"}
COMMITS = 3
OURS, CELERY, BARE = "Runyard live", "Celery get()", "a bare DRF view"


def main() -> None:
    """Measure, print, and write the tables."""
    report = Report("live")
    servers = TemporaryServers(durable=True)
    try:
        with installation(RUNYARD_LIVE_CONCURRENCY="4") as running, bare_view(servers) as bare:
            peer_url = f"{running.redis_url}?virtual_host=1"
            os.environ["PEER_URL"] = peer_url
            worker = [sys.executable, "-m", "celery", "-A", "benchmarks.celery_peer", "worker", "-c", "4"]
            with process([*worker, "--without-gossip", "--without-mingle"], {"PEER_URL": peer_url}):
                body = json.dumps({"input": INPUT}).encode()
                headers = {"X-API-Key": running.key}
                calls = {
                    OURS: caller(running.port, "/v1/actions/echo/live", body, headers, expected=200),
                    CELERY: _celery(),
                    BARE: caller(bare, "/echo", body, {}, expected=200),
                }
                _measure(report, calls, running)
    finally:
        servers.stop()
    report.write()


def _measure(report: Report, calls: dict[str, Call], running: Running) -> None:
    for call in calls.values():
        timed(call, callers=8, calls=80)  # everything that is made once
    commits = at(_commits(running.database_url), 50)
    for callers in CALLERS:
        every: dict[str, list[float]] = {name: [] for name in calls}

        def middle(name: str, callers: int = callers, every: dict[str, list[float]] = every) -> float:
            times = timed(calls[name], callers=callers, calls=CALLS[callers])[1]
            every[name] += times
            return at(times, 50)

        contestants = {name: (lambda name=name: middle(name)) for name in calls}
        measured = interleave(contestants, rounds=ROUNDS)
        report.say(f"{callers} caller{'s' if callers > 1 else ''} at once, p50 of each round:")
        report.compare(measured, unit="ms", to=CELERY)
        report.table(
            ("of all calls", "p50, ms", "p95, ms"),
            [(name, shown(at(times, 50)), shown(at(times, 95))) for name, times in every.items()],
        )
    gc.collect()  # Celery's results, which go to the broker once more when they go
    report.say(f"{COMMITS} durable commits alone: p50 {shown(commits)} ms.")


def _celery() -> Call:
    from benchmarks.celery_peer import make_app  # reads PEER_URL

    own = threading.local()

    def call() -> bytes:
        if not hasattr(own, "app"):
            own.app = make_app()
        return json.dumps(own.app.send_task("echo", [INPUT]).get(timeout=60)).encode()

    return call


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


if __name__ == "__main__":
    main()
