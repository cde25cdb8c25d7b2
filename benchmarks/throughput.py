"""From a POST of 100,000 trivial inputs to all results readable, beside other queues and beside a floor.

The inputs are 200 bytes of random text, which hardly compresses. The floor (`benchmarks.floor`) is one process that
parses, stores, calls and stores, with no queue. Peers (`benchmarks.peers`) run as their guides say, two processes each,
on Valkey and PostgreSQL of their own, and get fewer inputs: they take the same time for each, however many there are.
Everybody starts for his turn and ends after it, so that nobody's idle processes take the others' time. Who gets all
does the whole once before it is measured: a server in use has its memory, and has made what is made once.
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.environment import Running, installation, process
from benchmarks.report import Report
from benchmarks.rounds import Measured, interleave, shown
from devstack.home import PROJECT
from devstack.processes import end_with_parent
from devstack.temporary import TemporaryServers

INPUTS = 100_000
OF_PEERS = 1_000
ROUNDS = 3
OURS, OURS_LARGE, FLOOR = "Runyard", "Runyard, batch_size 1,000", "the floor"
PER_INPUT = "Celery, a task each, results in Redis"
PEERS = (
    PER_INPUT, "Celery, a task each, django-celery-results", "Celery chunks of 500", "Dramatiq", "Huey",
    "Procrastinate", "RQ", "arq",
)  # fmt: skip
MORE_OF = {"Celery chunks of 500": INPUTS}
ENDED = ("SUCCEEDED", "PARTIAL_SUCCEEDED", "FAILED", "INVALID", "STOPPED")
POLL_S = 0.1
GIVE_UP_S = 180
BIN = PROJECT / ".venv-peers" / "bin"


def main() -> None:
    """Measure, print, and write the tables."""
    report = Report("throughput")
    servers = TemporaryServers(durable=True)
    stages: list[dict[str, float]] = []
    try:
        with tempfile.TemporaryDirectory(prefix="runyard-benchmark-") as folder:
            body = Path(folder, "body.json")
            body.write_bytes(body_of(INPUTS))
            contestants: dict[str, Callable[[], float]] = {
                FLOOR: functools.partial(_floor, body, servers, stages),
                OURS: functools.partial(_ours, body.read_bytes()),
                OURS_LARGE: functools.partial(_ours, body_of(INPUTS, batch_size=1_000)),
            }
            contestants |= {name: functools.partial(_peer, name, servers) for name in PEERS}
            measured = interleave(contestants, rounds=ROUNDS)
    finally:
        servers.stop()
    _tell(report, measured, stages)
    report.write()


def _tell(report: Report, measured: Measured, stages: list[dict[str, float]]) -> None:
    report.say(f"Inputs a second, from the POST or the first submission to the last result read, {ROUNDS} rounds:")
    report.compare(measured, unit="inputs/s", to=PER_INPUT)
    report.compare({name: measured[name] for name in (FLOOR, OURS, OURS_LARGE)}, unit="inputs/s", to=FLOOR)
    names = [name for name in stages[0] if name != "sum"]
    middle = {name: sorted(one[name] for one in stages)[len(stages) // 2] for name in names}
    spent = ", ".join(f"{name} {shown(seconds)}" for name, seconds in middle.items())
    report.say(f"The floor's seconds: {spent}.")


def body_of(count: int, **fields: Any) -> bytes:
    """Return the body of a launch on so many inputs of 200 bytes of text that hardly compresses."""
    inputs = [{"text": base64.b64encode(os.urandom(141)).decode()} for _ in range(count)]
    return json.dumps({**fields, "inputs": inputs}, separators=(",", ":")).encode()


def _floor(body: Path, servers: TemporaryServers, stages: list[dict[str, float]]) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.floor", str(body)],
        env={**os.environ, **servers.environment}, cwd=PROJECT, check=True, capture_output=True,
    )  # fmt: skip
    stages.append(json.loads(done.stdout))
    return INPUTS / stages[-1]["sum"]


def _ours(body: bytes) -> float:
    with installation(RUNYARD_RUNS_CONCURRENCY="2") as running:
        rate(running, body, INPUTS)
        return rate(running, body, INPUTS)


def rate(running: Running, body: bytes, count: int) -> float:
    """Return inputs a second, from the POST to all results readable."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=GIVE_UP_S)
    headers = {"X-API-Key": running.key, "Content-Type": "application/json"}

    def ask(method: str, path: str, sent: bytes | None = None) -> Any:
        connection.request(method, path, body=sent, headers=headers)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{answer.status}: {told[:500].decode()}")
        return json.loads(told)

    began = time.perf_counter()
    path = f"/v1/runs/{ask('POST', '/v1/actions/echo/run/async', body)['run_uid']}"
    launched = time.perf_counter()
    while (run := ask("GET", f"{path}/status"))["status"] not in ENDED:
        if time.perf_counter() - began > GIVE_UP_S:
            raise SystemExit(f"the run did not end: {run}")
        time.sleep(_until_next_look(run, time.perf_counter() - launched))
    elapsed = time.perf_counter() - began
    if run["status"] != "SUCCEEDED" or run["succeeded_count"] != count:
        raise SystemExit(f"the run did not succeed: {run}")
    if len(ask("GET", f"{path}/outputs?limit=500&offset={count - 500}")) != 500:
        raise SystemExit("the last results cannot be read")
    return count / elapsed


def _until_next_look(run: dict[str, Any], elapsed: float) -> float:
    """Return for how long to wait: until the run has ended, should it go on as it did."""
    done = run["succeeded_count"]
    left = elapsed * (run["input_count"] / done - 1) if done else POLL_S * run["input_count"] / INPUTS
    return min(max(left, 0.01), POLL_S)


# --- Peers


def _peer(name: str, servers: TemporaryServers) -> float:
    count = MORE_OF.get(name, OF_PEERS)
    environment = _environment(servers)
    command = json.loads(_python(["-c", _WORKER_OF, name], environment))
    command[0] = str(BIN / command[0])
    with process(command, environment):
        driver = subprocess.Popen(
            [str(BIN / "python"), "-m", "benchmarks.peers", name], cwd=PROJECT, env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent,
        )  # fmt: skip
        assert driver.stdin
        assert driver.stdout
        try:
            driver.stdout.readline()
            # The first for everything that is made once, the start of the worker included.
            for asked in (MORE_OF.get(name, 200), count):
                driver.stdin.write(f"{asked}\n")
                driver.stdin.flush()
                seconds = float(driver.stdout.readline())
            return count / seconds
        finally:
            driver.kill()
            driver.wait()


_WORKER_OF = "import json, sys; from benchmarks.peers.apps import PEERS; print(json.dumps(PEERS[sys.argv[1]].worker))"


def _environment(servers: TemporaryServers) -> dict[str, str]:
    url = urlsplit(servers.environment["DATABASE_URL"])
    host = parse_qs(url.query).get("host", [url.hostname or ""])[0]
    named = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.lstrip("/"),
        "USER": url.username or "postgres",
    }
    return {
        "PEER_REDIS": servers.environment["REDIS_URL"].partition("://")[2].partition("?")[0],
        "PEER_POSTGRES": servers.environment["DATABASE_URL"],
        "PEER_DJANGO": " ".join(f"{key}={value}" for key, value in {**named, "HOST": host}.items()),
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }


def _python(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [str(BIN / "python"), *arguments], cwd=PROJECT, env={**os.environ, **environment}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


if __name__ == "__main__":
    main()
