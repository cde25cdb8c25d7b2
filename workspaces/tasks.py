"""What beat calls: one verb, no logic."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from workspaces import idempotency


@shared_task(name="workspaces.forget_idempotency_keys", ignore_result=True)
def forget_idempotency_keys() -> None:
    """Delete the keys that are too old to count."""
    idempotency.forget_old(now=timezone.now())
