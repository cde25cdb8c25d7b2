"""Deleting a run with all that it holds, in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from rest.errors import Conflict, NotFound
from runs import dependencies, outbox
from runs.holding import hold
from runs.models import TERMINAL, InputSet, Run, RunCallback, RunStatus
from webhooks import removal
from webhooks.models import Destination
from workspaces import idempotency

log = structlog.get_logger(__name__)

CALLBACKS_WAIT = timedelta(days=7)
"""For which an old run is kept beyond its time while a callback of it is still to arrive: a receiver may come back."""

DELETABLE = TERMINAL | {RunStatus.STOPPED}

# Written out: the ORM would first load each batch and each chunk, to see what hangs on it.
_DELETE = """
DELETE FROM runs_resultchunk WHERE run_id = %(run)s;
DELETE FROM runs_batch WHERE run_id = %(run)s;
DELETE FROM runs_runtransition WHERE run_id = %(run)s;
DELETE FROM runs_dependency WHERE run_id = %(run)s;
DELETE FROM runs_readyrun WHERE run_id = %(run)s;
DELETE FROM runs_runprogress WHERE run_id = %(run)s;
DELETE FROM runs_run WHERE id = %(run)s;
"""
# The set is locked first: of its last run and its schedule, gone at the same moment, the later one sees the other gone.
_FREE_INPUTS = """
SELECT FROM runs_inputset WHERE id = %(inputs)s FOR NO KEY UPDATE;
DELETE FROM runs_inputchunk
 WHERE input_set_id = %(inputs)s
   AND EXISTS (SELECT FROM runs_inputset WHERE id = %(inputs)s AND NOT is_kept)
   AND NOT EXISTS (SELECT FROM runs_run WHERE input_set_id = %(inputs)s);
DELETE FROM runs_inputset
 WHERE id = %(inputs)s AND NOT is_kept AND NOT EXISTS (SELECT FROM runs_run WHERE input_set_id = %(inputs)s);
"""


def delete(run: Run, *, force: bool = False) -> None:
    """Delete a run that has ended or is stopped. A worker that is still at it records nothing.

    The inputs go too, unless a schedule or another run has them as well, and so do its callbacks, and the
    Idempotency-Key that launched the run. Runs that wait for it become INVALID. With `force` callbacks that have not
    arrived are in nobody's way.

    Raises:
        Conflict: it goes on, or a callback of it is still to arrive.
        NotFound: it was deleted.
    """
    with transaction.atomic():
        held = hold(run)
        status = RunStatus(held.run.status)
        if status not in DELETABLE:
            raise Conflict(f"The run is {status}. Cancel it first, or wait for its end.", {"status": status})
        if not force:
            _check_called_back(held.run)
        _delete(held.run)


def _check_called_back(held: Run) -> None:
    # In this order: what is made into callbacks between the two looks is seen by the second.
    if outbox.is_open(held.pk) or removal.has_undelivered(held.uid):
        raise Conflict(
            f"The run is {held.status} and has callbacks that have not arrived. Wait for them, or add force=true.",
            {"status": held.status, "parameter": "force"},
        )


def delete_old(run: Run, *, ended_before: datetime) -> bool:
    """Delete a run in the same way if it ended before then and has not gone on since, nor is in anybody's hands.

    One with callbacks that are still to arrive stays for `CALLBACKS_WAIT` more; what is dropped then is logged. Returns
    whether this call did it.
    """
    try:
        with transaction.atomic():
            _wait_little()
            held = hold(run).run
            if held.status not in TERMINAL or held.finished_at is None or held.finished_at >= ended_before:
                return False
            # In this order, as above.
            unmade, undelivered = outbox.is_open(held.pk), removal.count_undelivered(held.uid)
            if (unmade or undelivered) and held.finished_at >= ended_before - CALLBACKS_WAIT:
                return False
            _delete(held)
    except NotFound:
        return False
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise
    if unmade or undelivered:
        log.warning("callbacks_dropped", run_uid=str(held.uid), count=undelivered, has_more_to_make=unmade)
    return True


def _wait_little() -> None:
    """Wait for no lock longer than a small deletion takes, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '100ms'")


def _delete(held: Run) -> None:
    # Whoever is about to add a row that names the run waits from here on, and then cannot.
    Run.objects.select_for_update().filter(pk=held.pk).exists()
    _delete_callbacks(held)
    with connection.cursor() as cursor:
        cursor.execute(_DELETE, {"run": held.pk})
        dependencies.tell_waiting([held.uid], met=RunStatus(held.status) in dependencies.MET)
    _free_inputs(held.input_set_id)
    idempotency.forget(held.uid)


def let_go_of_inputs(input_set_id: int) -> None:
    """Keep a schedule's inputs no longer: they go with the last run that has them, at once where there is none.

    In the caller's transaction, which no longer names them.
    """
    InputSet.objects.filter(pk=input_set_id).update(is_kept=False)
    _free_inputs(input_set_id)


def _free_inputs(input_set_id: int) -> None:
    """Delete inputs that neither a run nor a schedule has."""
    with connection.cursor() as cursor:
        cursor.execute(_FREE_INPUTS, {"inputs": input_set_id})


def _delete_callbacks(held: Run) -> None:
    """Delete what is to be called back, and then the callbacks: whoever makes some of the former has them first."""
    outbox.remove(held.pk)
    removal.remove(held.uid)
    callback = RunCallback.objects.filter(pk=held.pk).first()
    if callback:
        callback.delete()
        Destination.objects.filter(pk=callback.destination_id).delete()
