"""What beat calls: one verb each, no logic."""

from __future__ import annotations

from celery import shared_task

from schedules import firing, retention


@shared_task(name="schedules.tick", ignore_result=True)
def tick() -> None:
    """Fire what is due."""
    firing.tick()


@shared_task(name="schedules.prune", ignore_result=True)
def prune() -> None:
    """Delete some of what is old."""
    retention.prune()
