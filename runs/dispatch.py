"""Which batch is executed next, and in whose hands it is: every change of `Batch.status` happens here.

A worker that wakes claims the first ready batch of the run whose turn is lowest. A claim is a compare-and-set that
raises the batch's `attempt` and leases the batch; whoever names an older attempt afterwards has lost it. Lease times
are the database's clock, so that workers whose clocks differ agree.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from psycopg.types.json import Json

from runs import gates, lifecycle, turns
from runs.chunks import DoneBits
from runs.leases import OF_BATCH, Lease, Retries, dump_retries, lease_of, read
from runs.models import CLAIMABLE, Batch, BatchStatus, Run, RunProgress, RunStatus

CANDIDATES = 32  # more than claimers work side by side, so that all of them find something
SWEEP_STEP = 500
MAX_TRIES = 8
RUNS_TURN_S, OF_S = 3.0, 10.0  # in which live calls of an action with limits do not go before its runs

# In this and the next the batch is found by its id alone: the innermost query has looked at its status and locked it.
# With the status asked for again PostgreSQL may go through all ready batches, when its statistics are of a quiet time.
_CLAIM = f"""
WITH standing AS MATERIALIZED ({gates.STANDINGS}), open AS MATERIALIZED (
    SELECT id FROM standing
     WHERE {gates.OPEN}
       -- A live call of an action with limits goes first: its caller waits.
       AND NOT (is_limited AND NOT %(is_runs_turn)s AND EXISTS (SELECT FROM runs_run AS live
                WHERE live.execution_mode = 'LIVE' AND live.status = 'QUEUED' AND live.action_id = standing.id))
), claimed AS (
UPDATE runs_batch AS batch
   SET status = 'LEASED', attempt = batch.attempt + 1, worker = %(worker)s, ready_at = NULL,
       leased_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE batch.id = (
       SELECT first.id
         FROM (SELECT ready.run_id, ready.turn
                 FROM runs_readyrun AS ready JOIN open ON open.id = ready.action_id
                ORDER BY ready.turn LIMIT {CANDIDATES}) AS ready
              CROSS JOIN LATERAL (
              SELECT id FROM runs_batch
               WHERE run_id = ready.run_id AND status = 'READY'
               ORDER BY first_index LIMIT 1 FOR UPDATE SKIP LOCKED) AS first
        ORDER BY ready.turn LIMIT 1)
RETURNING batch.*
)
{OF_BATCH.format(batch="claimed")}"""

# The one batch of the live call that waits longest. Live calls are not in line with the others: they have workers of
# their own.
_CLAIM_LIVE = f"""
WITH standing AS MATERIALIZED ({gates.STANDINGS}), open AS MATERIALIZED (
    SELECT id FROM standing
     WHERE {gates.OPEN}
       -- But for some seconds now and then, where a run has waited for long: callers who never cease would starve it.
       AND NOT (is_limited AND %(is_runs_turn)s AND EXISTS (SELECT FROM runs_readyrun AS ready
                WHERE ready.action_id = standing.id AND ready.waiting_since < clock_timestamp() - interval '5 seconds'))
), claimed AS (
UPDATE runs_batch AS batch
   SET status = 'LEASED', attempt = batch.attempt + 1, worker = %(worker)s,
       leased_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE batch.id = (
       SELECT waiting.id
         FROM runs_run AS run
              JOIN open ON open.id = run.action_id
              JOIN runs_batch AS waiting ON waiting.run_id = run.id AND waiting.first_index = 0
        WHERE run.execution_mode = 'LIVE' AND run.status = 'QUEUED' AND waiting.status = 'READY'
        ORDER BY run.created_at, run.id LIMIT 1 FOR UPDATE OF waiting SKIP LOCKED)
RETURNING batch.*
)
{OF_BATCH.format(batch="claimed")}"""


def claim(*, worker: str, actions: Collection[str], now: datetime) -> Lease | None:
    """Claim the next batch of one of `actions` for `worker`, or return None when there is none.

    The run moves to RUNNING with its first claim, in the same transaction.
    """
    for _ in range(MAX_TRIES):
        try:
            with transaction.atomic():
                return _claim_once(worker=worker, actions=actions, now=now)
        except _NotExecutable as stopped:
            turns.make_unready(stopped.run_id)
        except gates.Closed as closed:
            gates.close(closed)
    return None


def claim_live(*, worker: str, actions: Collection[str], now: datetime) -> Lease | None:
    """Claim the live call of one of `actions` that waits longest, or return None when none waits."""
    for _ in range(MAX_TRIES):
        try:
            with transaction.atomic():
                return _claim_once(worker=worker, actions=actions, now=now, is_live=True)
        except gates.Closed as closed:
            gates.close(closed)
    return None


class _NotExecutable(Exception):
    """The run was stopped or postponed between the look and the claim: its batch stays where it was."""

    def __init__(self, run_id: int) -> None:
        self.run_id = run_id


def _claim_once(*, worker: str, actions: Collection[str], now: datetime, is_live: bool = False) -> Lease | None:
    values = {
        "worker": worker,
        "lease_s": settings.RUNYARD_LEASE_SECONDS,
        "is_runs_turn": time.time() % OF_S < RUNS_TURN_S,
        **gates.names_of(actions),
    }
    row = read(_CLAIM_LIVE if is_live else _CLAIM, values)
    if row is None:
        return None
    # Status and epoch come from one snapshot: either the epoch is from before a stop, and fences this claim out
    # later, or the status tells of it now.
    if row["status"] not in CLAIMABLE or row["is_dependent"]:
        raise _NotExecutable(row["run_id"])
    lease = lease_of(row)
    gates.enter(lease)
    if row["status"] != RunStatus.RUNNING:
        begun: dict[str, Any] = {"started_at": row["started_at"] or now, "postponed_until": None, "last_error": None}
        lifecycle.move(row["run_id"], RunStatus.RUNNING, now=now, **begun)
    if not is_live:
        turns.pass_turn(row["run_id"], row["workspace_id"], is_last=row["is_last"])
    return lease


_RENEW = """
UPDATE runs_batch SET leased_until = GREATEST(leased_until, clock_timestamp() + make_interval(secs => %s))
 WHERE id = %s AND attempt = %s AND status = 'LEASED'
"""


def renew(batch_id: int, attempt: int) -> bool:
    """Hold the lease for its full length from now. Returns False when the batch is in other hands."""
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, [settings.RUNYARD_LEASE_SECONDS, batch_id, attempt])
        return cursor.rowcount == 1


_MARK_SUSPECT = """
UPDATE runs_batch
   SET suspect = %(offset)s, suspect_since = clock_timestamp(), suspect_died_at = NULL, suspect_deaths = %(deaths)s,
       leased_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE id = %(batch)s AND attempt = %(attempt)s AND status = 'LEASED'
"""


def mark_suspect(lease: Lease, offset: int, *, deaths: int, hold_s: float = 0.0) -> bool:
    """Write down that an input is about to be executed whose process may die of it, as it did `deaths` times before.

    The lease is held for `hold_s` from now where that is longer. Returns False when the batch is in other hands.
    """
    values = {
        "offset": offset,
        "deaths": deaths,
        "lease_s": max(settings.RUNYARD_LEASE_SECONDS, hold_s),
        "batch": lease.batch_id,
        "attempt": lease.attempt,
    }
    with connection.cursor() as cursor:
        cursor.execute(_MARK_SUSPECT, values)
        return cursor.rowcount == 1


_TAKE_OVER = """
UPDATE runs_batch
   SET status = 'LEASED', attempt = attempt + 1, worker = '',
       leased_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE id = %(batch)s AND attempt = %(attempt)s AND status IN ('READY', 'LEASED')
   AND (NOT %(if_overdue)s OR leased_until < clock_timestamp())
"""


_READ = OF_BATCH.format(batch="runs_batch") + " WHERE batch.id = %(batch)s"


def take_over(batch_id: int, attempt: int, *, if_overdue: bool = False) -> Lease | None:
    """Take a batch out of the hands it is in, to record its end: whoever had it can record nothing any more.

    `attempt` is what the caller saw. Returns None where that has changed since, or with `if_overdue` where the lease
    was renewed.
    """
    values = {
        "batch": batch_id, "attempt": attempt, "if_overdue": if_overdue, "lease_s": settings.RUNYARD_LEASE_SECONDS,
    }  # fmt: skip
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_TAKE_OVER, values)
            if cursor.rowcount == 0:
                return None
        row = read(_READ, {"batch": batch_id})
        return lease_of(row) if row else None


def remove_unclaimed(run_id: int) -> bool:
    """Delete a run's one batch if no worker has taken it. Returns whether it did: nobody can claim it any more."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM runs_batch WHERE run_id = %s AND status = 'READY' AND attempt = 0", [run_id])
        return cursor.rowcount == 1


@dataclass(frozen=True, slots=True)
class Release:
    """Where a batch goes when its worker lets go of it."""

    status: BatchStatus
    ready_at: datetime | None = None


_PROGRESS = """
UPDATE runs_batch
   SET checkpoint = checkpoint + 1, done = %(done)s, retries = %(retries)s, careful = %(careful)s
"""
_NO_SUSPECT = ", suspect = NULL, suspect_since = NULL, suspect_died_at = NULL, suspect_deaths = 0"
_LET_GO = ", status = %(status)s, ready_at = %(ready_at)s, leased_until = NULL, worker = ''"
_IF_HELD = " WHERE id = %(batch)s AND attempt = %(attempt)s AND checkpoint = %(checkpoint)s AND status = 'LEASED'"


def progress(
    lease: Lease, *, done: bytes, retries: Retries, release: Release | None, is_empty: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return the statement, with its values, that writes a checkpoint's progress to its batch. `release` lets go of it.

    One that `is_empty` tells nothing of the input that processes died of before: it stays the suspect. It finds no row
    where the lease was lost, or where this very checkpoint is there already: see `is_recorded`.
    """
    stored = dump_retries(retries)
    values: dict[str, Any] = {
        "batch": lease.batch_id,
        "attempt": lease.attempt,
        "checkpoint": lease.checkpoint,
        "done": done,
        "retries": Json(stored) if stored else None,
        "careful": lease.is_careful,
    }
    if release:
        values |= {"status": release.status.value, "ready_at": release.ready_at}
    statement = _PROGRESS + ("" if is_empty else _NO_SUSPECT) + (_LET_GO if release else "") + _IF_HELD
    return statement, values


def let_go(lease: Lease) -> None:
    """Let go of a batch whose run was stopped, if it is still in this worker's hands: it counts as one at work."""
    with connection.cursor() as cursor:
        cursor.execute(_LET_GO_UNTOUCHED, [lease.batch_id, lease.attempt])


_LET_GO_UNTOUCHED = """
UPDATE runs_batch SET status = 'READY', leased_until = NULL, worker = ''
 WHERE id = %s AND attempt = %s AND status = 'LEASED'
"""


def is_recorded(lease: Lease) -> bool:
    """Return whether the lease's next checkpoint was written after all, by a commit whose answer got lost."""
    return Batch.objects.filter(pk=lease.batch_id, attempt=lease.attempt, checkpoint=lease.checkpoint + 1).exists()


def has_batch(run_id: int, status: BatchStatus) -> bool:
    """Return whether a run has a batch in `status`: each has an index of its own, whatever the number of batches."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM runs_batch WHERE run_id = %s AND status = %s)", [run_id, status.value]
        )
        return bool(cursor.fetchone()[0])


def lock_batches(run_id: int, *, leased_only: bool = False) -> list[int]:
    """Lock a run's batches until the transaction ends, in the order of their ids, and return the ids."""
    condition = "AND status = 'LEASED'" if leased_only else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM runs_batch WHERE run_id = %s {condition} ORDER BY id FOR NO KEY UPDATE", [run_id]
        )
        return [row[0] for row in cursor.fetchall()]


_TAKE_BACK = """
UPDATE runs_batch
   SET status = 'READY', leased_until = NULL, worker = ''
 WHERE id = ANY(%s) AND status = 'LEASED'
"""

# As it was at the launch: what its processes died of before, whoever resumes the run may have set right.
_AFRESH = """status = 'READY', leased_until = NULL, worker = '', ready_at = NULL, retries = NULL, crash_count = 0,
       careful = false, suspect = NULL, suspect_since = NULL, suspect_died_at = NULL, suspect_deaths = 0"""

_BEGIN_AGAIN = f"""
UPDATE runs_batch
   SET {_AFRESH}
 WHERE run_id = %s AND status <> 'DONE'
"""

_RUN_AGAIN = f"""
UPDATE runs_batch
   SET {_AFRESH}, done = again.done
  FROM unnest(%s::bigint[], %s::bytea[]) AS again (id, done)
 WHERE runs_batch.id = again.id
"""


def take_back(batch_ids: Sequence[int]) -> None:
    """Take locked batches out of their workers' hands. That is no crash of theirs: the run was stopped."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_BACK, [list(batch_ids)])


def begin_again(run_id: int) -> None:
    """Make all unfinished batches of a run ready, for whose batches are locked. Nothing of them waits any more."""
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN_AGAIN, [run_id])


def run_again(done: Mapping[int, DoneBits]) -> None:
    """Make locked batches ready for the inputs that are not done by `done`, which stands by batch id."""
    with connection.cursor() as cursor:
        cursor.execute(_RUN_AGAIN, [list(done), [bits.packed() for bits in done.values()]])


# A batch that crashed is executed with care from here on. Its process died at the input it had marked, or at the only
# one that was left.
_CRASH = """crash_count = crash_count + 1, careful = true,
       suspect_deaths = suspect_deaths
                      + (suspect IS NOT NULL OR input_count - bit_count(done) = 1)::int"""

_EXPIRE = f"""
UPDATE runs_batch
   SET status = 'READY', leased_until = NULL, worker = '', {_CRASH}
 WHERE id = ANY (ARRAY(
       SELECT id FROM runs_batch
        WHERE status = 'LEASED' AND leased_until < clock_timestamp()
          AND NOT EXISTS (SELECT FROM runs_run WHERE id = run_id AND execution_mode = 'LIVE')
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED))
RETURNING run_id
"""

_OF_WORKERS = """
 WHERE id = ANY (ARRAY(
       SELECT id FROM runs_batch
        WHERE status = 'LEASED' AND worker = ANY(%s)
          AND NOT EXISTS (SELECT FROM runs_run WHERE id = run_id AND execution_mode = 'LIVE')
        ORDER BY id FOR UPDATE))
RETURNING run_id
"""

_READY_AFTER_DEATH = f"""
UPDATE runs_batch
   SET status = 'READY', leased_until = NULL, worker = '', suspect_died_at = clock_timestamp(), {_CRASH}
{_OF_WORKERS}"""

_READY_AFTER_STOP = f"""
UPDATE runs_batch SET status = 'READY', leased_until = NULL, worker = ''
{_OF_WORKERS}"""

_WAKE_DUE = """
UPDATE runs_batch
   SET status = 'READY', ready_at = NULL
 WHERE id = ANY (ARRAY(
       SELECT id FROM runs_batch
        WHERE status = 'WAITING' AND ready_at <= %s
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED))
RETURNING run_id
"""


def expire_leases() -> int:
    """Make batches ready whose worker went silent past its lease, but for live calls. Returns how many."""
    return _ready_again(_EXPIRE, [SWEEP_STEP])


def workers_at_work(prefix: str) -> list[str]:
    """Return the names that begin with `prefix` of workers that have a batch in hand."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT worker FROM runs_batch WHERE status = 'LEASED' AND starts_with(worker, %s)", [prefix]
        )
        return [row[0] for row in cursor.fetchall()]


def take_from_dead(workers: Collection[str]) -> int:
    """Make the batches of processes that died ready, but for live calls. Returns how many."""
    return _ready_again(_READY_AFTER_DEATH, [list(workers)])


def take_from_stopped(workers: Collection[str]) -> int:
    """Make the batches of processes that are about to be ended ready, but for live calls. Returns how many.

    Nobody is to blame for it: the input in hand is executed again as if it had not been begun.
    """
    return _ready_again(_READY_AFTER_STOP, [list(workers)])


def wake_due(*, now: datetime) -> int:
    """Make batches ready whose first retry is due. Returns how many."""
    return _ready_again(_WAKE_DUE, [now, SWEEP_STEP])


def _ready_again(statement: str, arguments: list[Any]) -> int:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statement, arguments)
            run_ids = [row[0] for row in cursor.fetchall()]
        # Behind a checkpoint that is looking whether all that is left of its run waits: it must not miss these.
        list(RunProgress.objects.select_for_update().filter(run__in=set(run_ids)).order_by("run"))
        runs = Run.objects.places().claimable().filter(pk__in=set(run_ids))
        for run in runs.order_by("workspace_id", "pk"):
            turns.make_ready(run.pk, run.workspace_id, run.action_id)
    return len(run_ids)
