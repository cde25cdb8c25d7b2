"""What is still to arrive, by receiver."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min

from webhooks.models import Callback, Receiver


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is still to arrive at a receiver: how much, and since when the oldest of it."""

    pending: int = 0
    oldest_pending_at: datetime | None = None


def backlogs(found: Collection[Receiver]) -> dict[int, Backlog]:
    """Return the backlog of each of some receivers, by its key; one without is not there.

    Reads the index of what is undelivered in their workspaces, so takes as long as there is much of that.
    """
    rows = Callback.objects.undelivered().filter(
        workspace__in={one.workspace_id for one in found}, receiver__in=[one.pk for one in found]
    )
    counted = rows.order_by().values("receiver").annotate(pending=Count("pk"), oldest=Min("created_at"))
    return {row["receiver"]: Backlog(row["pending"], row["oldest"]) for row in counted}
