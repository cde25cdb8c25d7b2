"""What the workers and beat call: ids in, one verb, no logic."""

from __future__ import annotations

import os
from typing import NoReturn

import structlog
from celery import shared_task
from django.utils import timezone

from runs import callbacks, doorbell, execution, recovery, retention
from telemetry import counting

log = structlog.get_logger(__name__)


@shared_task(name=doorbell.RUNS.task, ignore_result=True)
def wake() -> None:
    """Execute one slice of what is ready, and ring once more if there was anything."""
    try:
        found = execution.execute_slice()
    except execution.ProcessStuck:
        _replace_process(doorbell.RUNS)
    if found:
        doorbell.ring()


@shared_task(name=doorbell.LIVE.task, ignore_result=True)
def wake_live() -> None:
    """Execute one live call. Each rings for itself."""
    try:
        execution.execute_live()
    except execution.ProcessStuck:
        _replace_process(doorbell.LIVE)


@shared_task(name=doorbell.ANNOUNCE.task, ignore_result=True)
def announce() -> None:
    """Make callbacks for a while, have them sent, and ring once more if there was anything."""
    if callbacks.announce():
        doorbell.ring(bell=doorbell.SEND)
        doorbell.ring(bell=doorbell.ANNOUNCE)


def _replace_process(bell: doorbell.Bell) -> NoReturn:
    log.error("process_replaced", reason="a thread runs on past its time limit")
    doorbell.ring(bell=bell)
    counting.push()
    os._exit(1)


@shared_task(name="runs.look_at_forgotten_dependents", ignore_result=True)
def look_at_forgotten_dependents() -> None:
    """Look at runs that were never told how those they depend on have ended."""
    recovery.look_at_forgotten_dependents(now=timezone.now())


@shared_task(name="runs.sweep", ignore_result=True)
def sweep() -> None:
    """Set right what is overdue or was lost."""
    recovery.sweep()


@shared_task(name="runs.prune", ignore_result=True)
def prune() -> None:
    """Delete some of the runs that are old."""
    retention.prune()
