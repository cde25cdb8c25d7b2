"""Calling live with a worker at hand: requests are made in threads, and the test's own thread is the live worker.

The alarm that ends a call at its time limit needs the main thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from runs import dispatch, execution, siblings
from runs.launch import LiveLaunch, prepare_live
from runs.leases import Lease
from runs.models import Batch, BatchStatus, ResultChunk, Run, RunStatus, RunTransition
from tests.factories import Api, counts, inputs_of, member, reread

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


def stored(action_name: str = "double", **changes: Any) -> Run:
    """Store a live call that nobody waits for; `changes` are columns of its row."""
    asked = LiveLaunch(input={"n": 2})
    found = member()
    prepared = prepare_live(action_name, asked, workspace=found.workspace, user=found.user, now=timezone.now())
    run = prepared.store()
    Run.objects.filter(pk=run.pk).update(**changes)
    return reread(run)


def claim() -> Lease | None:
    return dispatch.claim_live(worker=siblings.worker_name(), actions=["double"], now=timezone.now())


def expire() -> None:
    Batch.objects.update(leased_until=timezone.now() - timedelta(seconds=1))


def assert_ended_once(run: Run, label: str) -> None:
    run = reread(run)
    assert (run.status, run.last_error["label"], counts(run)) == (RunStatus.FAILED, label, (0, 1, 0, 0))
    assert ResultChunk.objects.filter(run=run).count() == 1
    assert Batch.objects.get(run=run).status == BatchStatus.DONE
    assert RunTransition.objects.filter(run=run, to_status=RunStatus.FAILED).count() == 1
    assert inputs_of(run)[0]["last_error"]["label"] == label
