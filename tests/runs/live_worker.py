"""Calling live with a worker at hand: requests are made in threads, and the test's own thread is the live worker.

The alarm that ends a call at its time limit needs the main thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection

from runs import execution
from tests.factories import Api

PATIENCE_S = 60.0  # bounds a wait; says nothing about how long anything should take


def until(condition: Callable[[], bool], *, work: Callable[[], Any] = lambda: None) -> None:
    """Return as soon as `condition()` holds; meanwhile `work`, which says whether there was anything to do."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        if not work():
            time.sleep(0.005)


def answers(*requests: Callable[[], Any], work: Callable[[], Any] = execution.execute_live) -> list[Any]:
    """Make requests side by side while this thread is the live worker; return their answers."""
    with ThreadPoolExecutor(len(requests)) as pool:
        futures = [pool.submit(_apart, request) for request in requests]
        until(lambda: all(future.done() for future in futures), work=work)
        return [future.result() for future in futures]


def call(api: Api, path: str, body: Any) -> Any:
    """Make one live call and return its answer."""
    return answers(lambda: api.post(path, body))[0]


def _apart(request: Callable[[], Any]) -> Any:
    """Make a request as another thread has to: its database connection ends with it."""
    try:
        return request()
    finally:
        connection.close()
