"""Taking callbacks away with the run that they tell of."""

from __future__ import annotations

from uuid import UUID

from django.db import connection

from webhooks.models import Callback


def has_undelivered(run_uid: UUID) -> bool:
    """Return whether a callback of the run is still to arrive."""
    return Callback.objects.of_run(run_uid).undelivered().exists()


def remove(run_uid: UUID) -> None:
    """Delete the run's callbacks and their bodies, in the caller's transaction. One that is being sent may arrive."""
    with connection.cursor() as cursor:
        # The packs first: a replay holds those of what it copies, and its rows are there when it lets go of them.
        cursor.execute("DELETE FROM webhooks_bodypack WHERE run_uid = %s", [run_uid])
        cursor.execute("DELETE FROM webhooks_callback WHERE run_uid = %s", [run_uid])
