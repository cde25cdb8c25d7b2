"""Celery's pool of processes, but for how soon it notices that one has died."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.concurrency import asynpool, prefork


class Pool(asynpool.AsynPool):
    """Looks for dead processes twice a second.

    Celery hears of a death from a pipe, which closes before the process can be waited for, so that it often finds
    nobody dead; then it looks again after 5 s. That is how long a slot would be empty, and what was in hand lost.
    """

    @property
    def timers(self) -> dict[Callable[[], Any], float]:
        return {self.maintain_pool: 0.5}


class TaskPool(prefork.TaskPool):
    Pool = Pool
