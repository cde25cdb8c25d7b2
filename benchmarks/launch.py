"""Launching: a large body beside what is done with it at the least, the memory it takes, and many small ones.

Large: 100,000 inputs of 200 bytes from the POST to the answer, beside parsing, checking and storing the same measured
alone in one process. Small: launches of one input a second beside a bare DRF view that inserts one row, behind the same
server with as many processes and threads.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.callers import caller, timed
from benchmarks.environment import Running, free_port, installation, process
from benchmarks.report import Report
from benchmarks.rounds import interleave, ratio, shown
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
            _large(report, running, servers)
            _memory(report, running)
            _small(report, running, bare)
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
    before = _web_peaks(running)
    caller(running.port, PATH, body, {KEY: running.key}, expected=202)()
    one = max(_web_peaks(running).values()) - min(before.values())
    fresh = caller(running.port, PATH, body, {KEY: running.key}, expected=202)
    with suppress(SystemExit):  # some are told to come again: that is how memory is bounded
        timed(fresh, callers=AT_ONCE, calls=AT_ONCE)
    eight = max(_web_peaks(running).values()) - min(before.values())
    times = len(body)
    report.say(
        f"Peak memory of a web process over its smallest before, of a body of {times / 1e6:.1f} MB: one launch"
        f" {one / 1e6:.0f} MB ({one / times:.1f} times the body), {AT_ONCE} at once {eight / 1e6:.0f} MB"
        f" ({eight / times:.1f} times one body; few are taken in at a time, the others wait or are told to come again)."
    )
    _wait_until_idle(running)


def _web_peaks(running: Running) -> dict[int, int]:
    """Return the highest resident size there ever was, in bytes, of each web process of this installation."""
    peaks = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"gunicorn" not in (folder / "cmdline").read_bytes():
                continue
            environment = (folder / "environ").read_bytes().split(b"\0")
            if f"PORT={running.port}".encode() in environment:
                status = dict(
                    line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
                )
                peaks[int(folder.name)] = int(status["VmHWM"].split()[0]) * 1024
    return peaks


def _small(report: Report, running: Running, bare: int) -> None:
    body = body_of(1)
    ours = caller(running.port, PATH, body, {KEY: running.key}, expected=202)
    theirs = caller(bare, "/insert", body, {}, expected=202)
    for call in (ours, theirs):
        timed(call, callers=CALLERS, calls=80)
    measured = interleave(
        {
            "a bare DRF view": lambda: SMALL / timed(theirs, callers=CALLERS, calls=SMALL)[0],
            "Runyard": lambda: SMALL / timed(ours, callers=CALLERS, calls=SMALL)[0],
        },
        rounds=ROUNDS,
    )
    report.say(f"Launches of one input, {CALLERS} callers at once, workers at work on them beside:")
    report.compare(measured, unit="requests/s", to="a bare DRF view")
    told = ratio(measured["Runyard"], measured["a bare DRF view"])
    report.say(f"That is {told} of it; a launch takes {shown(1000 / statistics.median(measured['Runyard']))} ms.")


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
