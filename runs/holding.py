"""Holding a run still while something happens to all of it: nobody claims, records or moves it meanwhile."""

from __future__ import annotations

from typing import NamedTuple

from rest.errors import NotFound
from runs import dispatch
from runs.models import Run, RunProgress


class Held(NamedTuple):
    """A run as it is now, with its progress, and the batches that are locked with it."""

    run: Run
    batch_ids: list[int]


def hold(run: Run, *, leased_only: bool = False) -> Held:
    """Lock a run's batches, its progress and then itself, in the house's order, until the transaction ends.

    With `leased_only` the other batches stay free, and may still be claimed: whoever does so has an old epoch, once
    the caller has raised it.

    Raises:
        NotFound: it was deleted.
    """
    batch_ids = dispatch.lock_batches(run.pk, leased_only=leased_only)
    list(RunProgress.objects.select_for_update(no_key=True).filter(pk=run.pk))
    # Locked and read anew: what the caller has seen of it may have changed since.
    found = Run.objects.with_progress().select_for_update(no_key=True, of=("self",)).filter(pk=run.pk).first()
    if found is None:
        raise NotFound("There is no such run.", {"run_uid": str(run.uid)})
    return Held(found, batch_ids)
