"""Deleting a run with all that it holds, in one transaction."""

from __future__ import annotations

from django.db import connection, transaction

from rest.errors import Conflict
from runs import dependencies
from runs.holding import hold
from runs.models import TERMINAL, InputSet, Run, RunStatus
from workspaces import idempotency

DELETABLE = TERMINAL | {RunStatus.STOPPED}

# Written out: the ORM would first load each batch and each chunk, to see what hangs on it.
_RESULTS_AND_BATCHES = ("DELETE FROM runs_resultchunk WHERE run_id = %s", "DELETE FROM runs_batch WHERE run_id = %s")
_INPUTS = "DELETE FROM runs_inputchunk WHERE input_set_id = %s"


def delete(run: Run) -> None:
    """Delete a run that has ended or is stopped. A worker that is still at it records nothing.

    The inputs go too, unless they are a schedule's or another run has them as well, and so does the Idempotency-Key
    that launched the run. Runs that wait for it become INVALID.

    Raises:
        Conflict: it goes on.
        NotFound: it was deleted.
    """
    with transaction.atomic():
        held = hold(run)
        status = RunStatus(held.run.status)
        if status not in DELETABLE:
            raise Conflict(f"The run is {status}. Cancel it first, or wait for its end.", {"status": status})
        # Whoever is about to add a row that names the run waits from here on, and then cannot.
        Run.objects.select_for_update().filter(pk=run.pk).exists()
        _execute(*((statement, run.pk) for statement in _RESULTS_AND_BATCHES))
        Run.objects.filter(pk=run.pk).delete()
        dependencies.tell_waiting([run.uid])
        _delete_inputs(held.run)
        idempotency.forget(run.uid)


def _delete_inputs(run: Run) -> None:
    input_set = InputSet.objects.filter(pk=run.input_set_id, runs=None)
    if run.schedule_uid is None and input_set.exists():
        _execute((_INPUTS, run.input_set_id))
        input_set.delete()


def _execute(*statements: tuple[str, int]) -> None:
    with connection.cursor() as cursor:
        for statement, key in statements:
            cursor.execute(statement, [key])
