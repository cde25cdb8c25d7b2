"""Callbacks sent to a receiver that takes 50 ms, beside plain urllib3 and requests, and the limit.

The limit is what as many threads can do when nothing but the receiver takes time: threads/latency. A receiver may hold
half of the sender's threads. Ours is the worker of `make run`: claims, signatures, durable records and all; the peer is
a process that does nothing but POST the same bodies over kept connections.
"""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from uuid import uuid4

import requests
import urllib3

from benchmarks.environment import free_port, installation, process
from benchmarks.report import Report
from benchmarks.rounds import interleave

THREADS = 64  # RUNYARD_CALLBACK_THREADS
HELD = THREADS // 2
LATENCY_MS = 50
LIMIT = HELD / LATENCY_MS * 1000
CALLBACKS = 1_280  # of each in a round, a multiple of the threads; short, so that some rounds have the machine alone
ROUNDS = 8
GIVE_UP_S = 120
PEERS = ("urllib3", "requests")
BODY = b'{"callback_ref_uid":"%b","run":{"status":"RUNNING"},"input":{"n":1},"results":[{"text":"%b"}]}'


def main() -> None:
    """Measure and print."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    receiver = [sys.executable, "-m", "benchmarks.receiver", str(port), str(LATENCY_MS)]
    settings = {"RUNYARD_CALLBACK_ALLOW_HTTP": "true", "RUNYARD_CALLBACK_ALLOW_PRIVATE": "true"}
    with installation(RUNYARD_CALLBACK_THREADS=str(THREADS), **settings) as running, process(receiver, {}):
        os.environ |= {"DATABASE_URL": running.database_url, "REDIS_URL": running.redis_url, "SECRET_KEY": "benchmark"}
        _wait_for(url)
        measure(url, _sender_to(url))


def measure(url: str, send: Callable[[int], None]) -> None:
    """Tell what each sends in a second, in turns."""
    report = Report("callbacks_sent")
    _rate(url, send, 500)  # connections, threads and caches
    contestants = {"Runyard": lambda: _rate(url, send, CALLBACKS)}
    for name in PEERS:
        contestants[name] = functools.partial(_rate, url, functools.partial(_send_by_peer, url, name), CALLBACKS)
    measured = interleave(contestants, rounds=ROUNDS)
    report.say(
        f"{CALLBACKS:,} callbacks to a receiver that takes {LATENCY_MS} ms, {HELD} threads: at most {LIMIT:.0f}/s, of"
        f" which Runyard sends {max(measured['Runyard']) / LIMIT:.0%} at best and"
        f" {statistics.median(measured['Runyard']) / LIMIT:.0%} in the middle of {ROUNDS} rounds."
    )
    report.compare(measured, unit="callbacks/s", to=PEERS[0])
    report.write()


def _rate(url: str, send: Callable[[int], None], count: int) -> float:
    """Return how many POSTs a second arrived, from the first to the last of `count`."""
    _ask(url, "DELETE")
    send(count)
    deadline = time.monotonic() + GIVE_UP_S
    while (came := _ask(url))[0] < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"{came[0]} of {count} arrived")
        time.sleep(0.5)
    return came[0] / came[1]


def _ask(url: str, method: str = "GET") -> tuple[int, float]:
    """Return how many POSTs the receiver had, and the seconds from the first to the last."""
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as told:
        count, lasted_s = told.read().split()
    return int(count), float(lasted_s)


def _sender_to(url: str) -> Callable[[int], None]:
    """Return what makes callbacks to a URL: the worker sends them."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    from django.db import transaction
    from django.utils import timezone

    from webhooks import intake, receivers
    from webhooks.models import Destination
    from workspaces.models import Workspace

    workspace = Workspace.objects.get()
    receiver = receivers.receiver_of(workspace, url)
    destination = Destination.objects.create(receiver=receiver, url=url, created_at=timezone.now())

    def make(count: int) -> None:
        drafts = (intake.Draft(_body(), uuid4(), None) for _ in range(count))
        with transaction.atomic():
            intake.make(
                drafts, destination=destination, workspace_id=workspace.pk, run_uid=uuid4(), created_at=timezone.now()
            )

    return make


def _body() -> bytes:
    return BODY % (str(uuid4()).encode(), b"x" * 200)


def _peer(url: str, name: str, count: int) -> None:
    """POST so many bodies, from as many threads as the receiver may hold of ours, with nothing else to do."""
    pool = urllib3.PoolManager(maxsize=HELD, retries=False)
    headers = {"Content-Type": "application/json"}

    def work() -> None:
        session = requests.Session()
        for _ in range(count // HELD):
            if name == "urllib3":
                status = pool.request("POST", url, body=_body(), headers=headers, timeout=15.0).status
            else:
                status = session.post(url, data=_body(), headers=headers, timeout=15.0).status_code
            if status != 200:
                raise SystemExit("a wrong answer")

    threads = [threading.Thread(target=work) for _ in range(HELD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _send_by_peer(url: str, name: str, count: int) -> None:
    subprocess.run([sys.executable, "-m", "benchmarks.callbacks_sent", url, name, str(count)], check=True)


def _wait_for(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            _ask(url)
            return
        time.sleep(0.1)
    raise SystemExit("the receiver did not start")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _peer(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main()
