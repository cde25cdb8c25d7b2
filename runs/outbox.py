"""What is still to be made into callbacks: the table OutboxEntry is written here.

An entry is written in the transaction in which something happened that a run calls back about, and deleted in the one
that makes its callbacks (`runs.callbacks`). Whoever writes one holds the run's progress or the run itself, so those of
an end are the newest the run has. Of one run all entries are held or none: a person's cancel holds them, and nothing is
added until a resume lets go of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import DateTimeField, Func

from runs import doorbell
from runs.models import CallbackOn, OutboxEntry, RunCallback, RunStatus

OF_RESULTS = """
announced AS (
    INSERT INTO runs_outboxentry (run_id, result_chunk_id, status, is_held, created_at)
    SELECT run_id, id, '', false, created_at FROM stored
)"""
"""The part of the statement that stores a checkpoint's results as `stored`, where they are called back."""

OF_END = """
announced AS (
    INSERT INTO runs_outboxentry (run_id, status, error, is_held)
    SELECT moved.id, %(target)s, moved.last_error, false
      FROM moved JOIN runs_runcallback AS callback ON callback.run_id = moved.id
    RETURNING id
)"""
"""The part of the statement that ends a run (`runs.lifecycle`) which writes that it ended, where that is called back.

One statement, so that a run without a callback pays no more than looking for it.
"""

_OF_INVALID = """
INSERT INTO runs_outboxentry (run_id, input_chunk_id, status, is_held)
SELECT %(run)s, id, '', false FROM runs_inputchunk
 WHERE input_set_id = %(inputs)s AND invalid_count > 0
 ORDER BY first_index
"""


def write_launch(callback: RunCallback, *, invalid_count: int) -> None:
    """Write what a run that was just stored calls back about already: its invalid inputs, and that it is INVALID."""
    run = callback.run
    if callback.on == CallbackOn.ALL and invalid_count:
        with connection.cursor() as cursor:
            cursor.execute(_OF_INVALID, {"run": run.pk, "inputs": run.input_set_id})
        ring_after_commit()
    if run.status == RunStatus.INVALID:
        OutboxEntry.objects.create(run=run, status=run.status, error=run.last_error)
        ring_after_commit()


def ring_after_commit() -> None:
    """Wake who makes the callbacks, once there is something for them to find."""
    transaction.on_commit(lambda: doorbell.ring(bell=doorbell.ANNOUNCE))


def hold(run_id: int) -> None:
    """Keep what a run has open from being called back, for whoever holds the run. Waits for what is under way."""
    OutboxEntry.objects.open().filter(run=run_id).update(is_held=True)


def let_go(run_id: int) -> None:
    """Let what is held of a run be called back again, for whoever holds the run."""
    if OutboxEntry.objects.filter(run=run_id, is_held=True).update(is_held=False):
        ring_after_commit()


def is_open(run_id: int) -> bool:
    """Return whether something of a run is still to be made into callbacks."""
    return OutboxEntry.objects.open().filter(run=run_id).exists()


def remove(run_id: int) -> None:
    """Delete all entries of a run, for whoever holds the run. Waits for what is under way."""
    OutboxEntry.objects.filter(run=run_id).delete()


# Each step goes through the index to the next run, past all that this one has open.
_RUNS = """
WITH RECURSIVE turn (run_id) AS (
    (SELECT run_id FROM runs_outboxentry WHERE NOT is_held AND run_id > %(after)s ORDER BY run_id LIMIT 1)
    UNION ALL
    SELECT (SELECT entry.run_id FROM runs_outboxentry AS entry
             WHERE NOT entry.is_held AND entry.run_id > turn.run_id ORDER BY entry.run_id LIMIT 1)
      FROM turn WHERE turn.run_id IS NOT NULL
)
SELECT run_id FROM turn WHERE run_id IS NOT NULL LIMIT %(limit)s
"""


def runs_after(run_id: int, *, limit: int) -> list[int]:
    """Return the runs with an id above `run_id` that have something open, in order, at most `limit`."""
    with connection.cursor() as cursor:
        cursor.execute(_RUNS, {"after": run_id, "limit": limit})
        return [row[0] for row in cursor.fetchall()]


class Taken(NamedTuple):
    """An entry that is locked, with all that its callbacks need of the run, and the database's time.

    Of those before it that are done with, none was taken later.
    """

    entry: OutboxEntry
    at: datetime


def take(run_id: int, *, after: int = 0) -> Taken | None:
    """Return the next entry of a run with an id above `after`, locked until the transaction ends; None where none is
    free."""
    # Not Now(): that is when the statement came, and an older entry may be done with between then and its snapshot.
    clock = Func(function="clock_timestamp", output_field=DateTimeField())
    entries = (
        OutboxEntry.objects.in_turn().filter(run=run_id, pk__gt=after).select_related("run__callback__destination")
    )
    run = ("run__uid", "run__workspace", "run__callback__per", "run__callback__destination__receiver")
    own = ("run", "result_chunk", "input_chunk", "status", "error")
    free = entries.only(*own, *run).annotate(taken_at=clock).select_for_update(of=("self",), skip_locked=True).first()
    return Taken(free, free.taken_at) if free else None  # type: ignore[attr-defined]


def finish(taken: Taken) -> None:
    """Delete an entry whose callbacks are made, in the transaction that took it."""
    OutboxEntry.objects.filter(pk=taken.entry.pk).delete()
