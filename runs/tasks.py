"""What the workers and beat call: ids in, one verb, no logic."""

from __future__ import annotations

import os

import structlog
from celery import shared_task

from runs import doorbell, execution, recovery

log = structlog.get_logger(__name__)


@shared_task(name=doorbell.WAKE, ignore_result=True)
def wake() -> None:
    """Execute one slice of what is ready, and ring once more if there was anything."""
    try:
        found = execution.execute_slice()
    except execution.ProcessStuck:
        log.error("process_replaced", reason="a thread runs on past its time limit")
        doorbell.ring()
        os._exit(1)
    if found:
        doorbell.ring()


@shared_task(name="runs.sweep", ignore_result=True)
def sweep() -> None:
    """Set right what is overdue or was lost."""
    recovery.sweep()
