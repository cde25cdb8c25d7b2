"""The class of all tasks: none begins before the database is migrated."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Task

from rest import schema

log = structlog.get_logger(__name__)


class WhenMigrated(Task):  # type: ignore[type-arg]
    """A task that does nothing while the database lacks what the code asks of it.

    What it would execute could not be recorded. Nothing is lost: beat and the sweep ask again.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, or leave it."""
        if schema.is_current():
            return super().__call__(*args, **kwargs)
        log.warning("task_left_until_migrated", task=self.name)
        return None
