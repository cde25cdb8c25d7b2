"""Taking callbacks away with the run they tell of."""

from __future__ import annotations

from uuid import UUID

from webhooks.models import BodyPack, Callback


def has_undelivered(run_uid: UUID) -> bool:
    """Return whether a callback of the run is still to arrive."""
    return Callback.objects.of_run(run_uid).undelivered().exists()


def remove(run_uid: UUID) -> None:
    """Delete the run's callbacks and their bodies, in the caller's transaction."""
    Callback.objects.of_run(run_uid).delete()
    BodyPack.objects.filter(run_uid=run_uid).delete()
