"""Deleting a schedule with its timeline. Its runs stay, and its inputs for as long as a run has them."""

from __future__ import annotations

from django.db import transaction

from runs import deletion
from schedules.lifecycle import hold
from schedules.models import Schedule
from workspaces import idempotency


def delete(schedule: Schedule) -> None:
    """Delete a schedule, whatever its status, and the Idempotency-Key that made it.

    Raises:
        NotFound: it was deleted.
    """
    with transaction.atomic():
        held = hold(schedule)
        uid, input_set_id, destination = held.uid, held.input_set_id, held.destination
        held.delete()
        deletion.let_go_of_inputs(input_set_id)
        if destination:
            destination.delete()
        idempotency.forget(uid)
