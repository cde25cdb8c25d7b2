"""How many runs and batches stand where, for `/metrics`: read from a bounded number of rows, however many there are."""

from __future__ import annotations

from typing import NamedTuple

from django.db import connection

from runs import gates
from runs.models import HAS_ENDED_SQL

COUNTED_RUNS = 10_000
COUNTED_BATCHES = 10_000
COUNTED_ENTRIES = 10_000


class Unfinished(NamedTuple):
    """So many unfinished runs of an action are in a status."""

    action_name: str
    mode: str
    status: str
    runs: int


_UNFINISHED = f"""
SELECT action_name, execution_mode, status, count(*)
  FROM (SELECT action_name, execution_mode, status FROM runs_run WHERE NOT ({HAS_ENDED_SQL}) LIMIT %s) AS run
 GROUP BY action_name, execution_mode, status
"""


def unfinished() -> list[Unfinished]:
    """Return the unfinished runs, STOPPED ones included, of which COUNTED_RUNS are counted at most."""
    with connection.cursor() as cursor:
        cursor.execute(_UNFINISHED, [COUNTED_RUNS])
        return [Unfinished(*row) for row in cursor.fetchall()]


class Ready(NamedTuple):
    """So many batches of an action wait for a worker, and a run of it was not served for `wait_s`.

    `wait_s` is 0 where a limit or a pause is what they wait for.
    """

    action_name: str
    batches: int
    wait_s: float


_READY = """
SELECT action.name, run.batches,
       CASE WHEN action.id = ANY(%(closed)s) THEN 0
            ELSE EXTRACT(EPOCH FROM clock_timestamp() - run.waiting_since) END::float8
  FROM (SELECT batch.action_id, min(batch.waiting_since) AS waiting_since, count(*) AS batches
          FROM (SELECT ready.action_id, ready.waiting_since
                  FROM runs_readyrun AS ready
                       JOIN runs_batch AS batch ON batch.run_id = ready.run_id AND batch.status = 'READY'
                 LIMIT %(limit)s) AS batch
         GROUP BY batch.action_id) AS run
       JOIN actions_action AS action ON action.id = run.action_id
"""


def ready() -> list[Ready]:
    """Return what waits for a worker of runs, by action; COUNTED_BATCHES are counted at most."""
    closed = [standing.action_id for standing in gates.standings() if not standing.is_open]
    with connection.cursor() as cursor:
        cursor.execute(_READY, {"closed": closed, "limit": COUNTED_BATCHES})
        return [Ready(name, int(batches), max(wait_s, 0.0)) for name, batches, wait_s in cursor.fetchall()]


class Leased(NamedTuple):
    """So many batches are in workers' hands; the lease of one ran out `overdue_s` ago, and nobody has seen to it."""

    batches: int
    overdue_s: float


_LEASED = """
SELECT count(*), COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - min(leased_until)), 0)::float8
  FROM (SELECT leased_until FROM runs_batch WHERE status = 'LEASED' ORDER BY leased_until LIMIT %s) AS batch
"""


def leased() -> Leased:
    """Return the batches in workers' hands, live calls included, of which COUNTED_BATCHES are counted at most."""
    with connection.cursor() as cursor:
        cursor.execute(_LEASED, [COUNTED_BATCHES])
        count, overdue_s = cursor.fetchone()
    return Leased(count, max(overdue_s, 0.0))


class Outbox(NamedTuple):
    """So many checkpoints and ends are still to be made into callbacks, the oldest of them for `wait_s`."""

    entries: int
    wait_s: float


_OUTBOX = """
SELECT count(*), COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - min(created_at)), 0)::float8
  FROM (SELECT created_at FROM runs_outboxentry WHERE NOT is_held LIMIT %s) AS entry
"""


def outbox() -> Outbox:
    """Return what is still to be made into callbacks, of which COUNTED_ENTRIES are counted at most."""
    with connection.cursor() as cursor:
        cursor.execute(_OUTBOX, [COUNTED_ENTRIES])
        entries, wait_s = cursor.fetchone()
    return Outbox(entries, max(wait_s, 0.0))
