"""Deleting what is old of callbacks: receivers that nobody has used for as long as runs are kept.

Callbacks themselves go with the runs that they tell of.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from webhooks.models import Destination, Receiver

log = structlog.get_logger(__name__)

STEP_S = 1.0  # of every minute that beat lets pass
LOOKED_UP = 1_000


def prune(*, now: datetime | None = None, step_s: float = STEP_S) -> int:
    """Delete receivers that no run and no schedule calls, and that were last served long ago, for about `step_s`.

    One that is paused stays until the pause is over. Returns how many were deleted.
    """
    if settings.RUNYARD_RETENTION_DAYS is None:
        return 0
    stop_at = time.monotonic() + step_s
    now = now or timezone.now()
    served_before = now - timedelta(days=settings.RUNYARD_RETENTION_DAYS)
    is_paused = Q(paused_until__isnull=False, paused_until__gte=now)
    # A run's destination goes with its callbacks, so where there is none there are none of these either.
    unused = Receiver.objects.filter(
        ~is_paused,
        ~Exists(Destination.objects.filter(receiver=OuterRef("pk"))),
        served_at__lt=served_before,
        wakes_at__isnull=True,
    )
    deleted = 0
    # One by one: for each the foreign key has all callbacks read, which has no index for what comes this rarely.
    for pk in list(unused.order_by("served_at").values_list("pk", flat=True)[:LOOKED_UP]):
        deleted += _delete(unused, pk)
        if time.monotonic() >= stop_at:
            break
    if deleted:
        log.info("unused_receivers_deleted", count=deleted)
    return deleted


def _delete(unused: QuerySet[Receiver], pk: int) -> int:
    """Delete one that is still unused: `receivers.receiver_of` marks those that are about to be used again."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if not unused.select_for_update(of=("self",)).filter(pk=pk).exists():
                return 0
            # Written out: the ORM would look for what names it, as the foreign keys do again.
            cursor.execute("DELETE FROM webhooks_receiver WHERE id = %s", [pk])
            return 1
    except IntegrityError as error:  # it is named after all, and the others are not to wait for it
        log.warning("unused_receiver_not_deleted", receiver_id=pk, error=str(error).strip())
        return 0
