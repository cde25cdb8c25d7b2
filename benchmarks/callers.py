"""Callers that ask over kept connections, so many at once."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping

Call = Callable[[], bytes]


def caller(port: int, path: str, body: bytes, headers: Mapping[str, str], *, expected: int) -> Call:
    """Return what POSTs `body` and returns the answer's; each thread has its own connection.

    Raises:
        SystemExit: another status than expected.
    """
    own = threading.local()
    sent = {"Content-Type": "application/json", **headers}

    def call() -> bytes:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        own.connection.request("POST", path, body=body, headers=sent)
        answer = own.connection.getresponse()
        told: bytes = answer.read()
        if answer.status != expected:
            raise SystemExit(f"{path}: {answer.status}: {told[:500].decode()}")
        return told

    return call


def timed(call: Call, *, callers: int, calls: int) -> tuple[float, list[float]]:
    """Make so many calls from so many threads; return the seconds of all, and the milliseconds of each."""
    times: list[float] = []

    def work() -> None:
        for _ in range(calls // callers):
            began = time.perf_counter()
            call()
            times.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(times) != calls // callers * callers:
        raise SystemExit("a call failed")
    return time.perf_counter() - began, times


def at(times: list[float], percent: int) -> float:
    """Return a percentile."""
    return sorted(times)[min(len(times) * percent // 100, len(times) - 1)]
