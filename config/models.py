"""Which processes are alive: workers and beat write a row each, `/readyz` and the runner read them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class ProcessHeartbeat(models.Model):
    """The last sign of life of one worker or beat process."""

    name = models.CharField(max_length=255, unique=True, help_text="As Celery names it: runs@host, beat@host.")
    role = models.CharField(max_length=32, help_text="The queue a worker serves, or `beat`.")
    seen_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["role", "-seen_at"], name="heartbeat_by_role")]

    def __str__(self) -> str:
        return self.name
