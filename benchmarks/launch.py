"""Launching: a large body beside what is done with it at the least, the memory it takes, and many small ones.

Large: 100,000 inputs of 200 bytes from the POST to the answer, beside parsing, checking and storing the same measured
alone in one process. Small: launches of one input a second beside a bare DRF view that inserts one row, behind the same
server with as many processes and threads, on the same database; and once more while workers execute what is launched.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.callers import Call, caller, timed
from benchmarks.environment import Running, free_port, installation, process, wait_until_ready
from benchmarks.report import Report
from benchmarks.rounds import interleave
from benchmarks.throughput import body_of
from devstack.home import PROJECT
from devstack.temporary import TemporaryServers

INPUTS = 100_000
ROUNDS = 5
SMALL, CALLERS = 400, 8
AT_ONCE = 8
KEY = "X-API-Key"
PATH = "/v1/actions/echo/run/async"


def main() -> None:
    """Measure, print, and write the tables."""
    report = Report("launch")
    servers = TemporaryServers(durable=True)
    try:
        with installation(RUNYARD_MAX_UNFINISHED_RUNS="100000") as running, bare_view(servers) as bare:
            _memory(report, running)  # first: a process keeps what it had once
            _large(report, running, servers)
            with web_alone(servers) as alone:
                _small(report, running, bare, alone)
    finally:
        servers.stop()
    report.write()


def _large(report: Report, running: Running, servers: TemporaryServers) -> None:
    body = body_of(INPUTS)
    post = caller(running.port, PATH, body, {KEY: running.key}, expected=202)
    post()  # everything that is made once
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "body.json")
        file.write_bytes(body)

        def alone() -> float:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.launch_alone", str(file)],
                env={**os.environ, **servers.environment}, cwd=PROJECT, check=True, capture_output=True, text=True,
            )  # fmt: skip
            return float(done.stdout)

        def ours() -> float:
            seconds = timed(post, callers=1, calls=1)[0]
            _wait_until_idle(running)
            return seconds

        measured = interleave({"parse, check, store alone": alone, "POST to answer": ours}, rounds=ROUNDS)
    report.say(f"A launch of {INPUTS:,} inputs of 200 bytes ({len(body) / 1e6:.1f} MB):")
    report.compare(measured, unit="s", to="parse, check, store alone")


def _wait_until_idle(running: Running) -> None:
    """Wait for the workers, who would take the next round's processor."""
    request = urllib.request.Request(f"http://127.0.0.1:{running.port}/v1/runs?limit=1", headers={KEY: running.key})
    for _ in range(600):
        with urllib.request.urlopen(request, timeout=30) as answer:
            if b'"status":"SUCCEEDED"' in answer.read():
                return
        time.sleep(0.1)
    raise SystemExit("a run did not end")


def _memory(report: Report, running: Running) -> None:
    body = body_of(INPUTS)
    launch = caller(running.port, PATH, body, {KEY: running.key}, expected=202)
    one = _taken(running, launch)
    _wait_until_idle(running)

    def at_once() -> None:
        with suppress(SystemExit):  # some are told to come again: that is how memory is bounded
            timed(launch, callers=AT_ONCE, calls=AT_ONCE)

    eight = _taken(running, at_once)
    size = len(body)
    report.say(
        f"What a web process takes at its peak over what it had before, of a body of {size / 1e6:.1f} MB: one launch"
        f" {one / 1e6:.0f} MB ({one / size:.1f} times the body), {AT_ONCE} at once {eight / 1e6:.0f} MB"
        f" ({eight / size:.1f} times one body; few are taken in at a time, the others wait or are told to come again)."
    )
    _wait_until_idle(running)


def _taken(running: Running, do: Callable[[], object]) -> int:
    """Return how many bytes more some web process had at its peak, while `do` was done, than before it."""
    before = {}
    for process_id in _web_processes(running):
        Path(f"/proc/{process_id}/clear_refs").write_text("5")  # the peak begins anew
        before[process_id] = _resident(process_id, "VmRSS")
    do()
    return max(_resident(process_id, "VmHWM") - resident for process_id, resident in before.items())


def _web_processes(running: Running) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"gunicorn" not in (folder / "cmdline").read_bytes():
                continue
            if f"PORT={running.port}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def _resident(process_id: int, which: str) -> int:
    """Return the resident size now (VmRSS) or at its highest (VmHWM), in bytes."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{which}:"))


def _small(report: Report, running: Running, bare: int, alone: Running) -> None:
    body = body_of(1)
    calls = {
        "a bare DRF view": caller(bare, "/insert", body, {}, expected=202),
        "Runyard": caller(alone.port, PATH, body, {KEY: alone.key}, expected=202),
        "Runyard, its workers executing them beside": caller(
            running.port, PATH, body, {KEY: running.key}, expected=202
        ),
    }
    for call in calls.values():
        timed(call, callers=CALLERS, calls=80)
    measured = interleave({name: functools.partial(_rate, call) for name, call in calls.items()}, rounds=ROUNDS)
    report.say(f"Launches of one input, {CALLERS} callers at once:")
    report.compare(measured, unit="requests/s", to="a bare DRF view")


def _rate(call: Call) -> float:
    return SMALL / timed(call, callers=CALLERS, calls=SMALL)[0]


@contextmanager
def web_alone(servers: TemporaryServers) -> Iterator[Running]:
    """Run the web server with nobody who executes, and yield it."""
    port = free_port()
    added = {
        **servers.environment, "PORT": str(port), "SECRET_KEY": "only-for-benchmarks", "RUNYARD_RATE_LIMIT": "off",
        "RUNYARD_ACTIONS": "benchmarks.sample_actions", "RUNYARD_MAX_UNFINISHED_RUNS": "100000", "LOG_LEVEL": "INFO",
    }  # fmt: skip
    command = [sys.executable, "manage.py"]
    key = ""
    for asked in ("migrate --verbosity=0", "create_key --workspace Benchmark --email benchmark@example.test"):
        done = subprocess.run(
            [*command, *asked.split()], env={**os.environ, **added}, cwd=PROJECT, check=True, capture_output=True,
            text=True,
        )  # fmt: skip
        key = done.stdout.strip()
    with process([sys.executable, "-m", "gunicorn", "config.wsgi", "-c", "config/gunicorn.py"], added):
        wait_until_ready(port, "/healthz")
        yield Running(port, key, servers.environment["DATABASE_URL"], servers.environment["REDIS_URL"])


@contextmanager
def bare_view(servers: TemporaryServers) -> Iterator[int]:
    """Run the bare application with the web server's settings, and yield its port."""
    port = free_port()
    added = {**servers.environment, "PORT": str(port)}
    subprocess.run([sys.executable, "-m", "benchmarks.bare"], env={**os.environ, **added}, cwd=PROJECT, check=True)
    with process([sys.executable, "-m", "gunicorn", "benchmarks.bare", "-c", "config/gunicorn.py"], added):
        for _ in range(100):
            with suppress(OSError):
                urllib.request.urlopen(
                    urllib.request.Request(f"http://127.0.0.1:{port}/echo", data=b'{"input":1}', method="POST",
                                           headers={"Content-Type": "application/json"}), timeout=5
                ).close()  # fmt: skip
                break
            time.sleep(0.1)
        yield port


if __name__ == "__main__":
    main()
