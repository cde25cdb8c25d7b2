"""Whose turn it is: which runs have a batch to claim, and in which order they are served.

The tables ReadyRun and WorkspaceTurn are written here. Both can be made anew from the others: what a race leaves wrong
the sweep sets right (`restore_lost_ready_runs`, `drop_stale_ready_runs`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db import connection
from django.db.models import Exists, OuterRef

from runs.models import Batch, BatchStatus, ExecutionMode, ReadyRun, Run
from statements.cursors import prepared_cursor
from statements.insertion import Beside

SWEEP_STEP = 500


def pass_turn(run_id: int, workspace_id: int, *, is_last: bool) -> None:
    """Give the run its next turn, or take it from the ready ones when that was its last ready batch."""
    names = {"run": run_id, "workspace": workspace_id}
    with prepared_cursor() as cursor:
        if is_last:
            # Whoever makes a batch of the run ready locks the turn first, so this is in line behind it and then
            # sees its batch. The ready row first would deadlock with it.
            cursor.execute(_LOCK_TURN, names)
        cursor.execute(_LAST_TURN if is_last else _NEXT_TURN, names)


_NEXT_TURN = """
WITH workspace AS (
    UPDATE runs_workspaceturn AS own
       SET served_turn = GREATEST(own.served_turn, ready.turn), last_turn = GREATEST(own.last_turn, ready.turn) + 1
      FROM runs_readyrun AS ready
     WHERE own.workspace_id = %(workspace)s AND ready.run_id = %(run)s
    RETURNING own.last_turn
)
UPDATE runs_readyrun SET turn = workspace.last_turn, waiting_since = clock_timestamp()
  FROM workspace WHERE run_id = %(run)s
"""

_LOCK_TURN = "SELECT FROM runs_workspaceturn WHERE workspace_id = %(workspace)s FOR NO KEY UPDATE"

_LAST_TURN = """
WITH served AS (
    DELETE FROM runs_readyrun
     WHERE run_id = %(run)s
       AND NOT EXISTS (SELECT FROM runs_batch WHERE run_id = %(run)s AND status = 'READY')
    RETURNING turn
)
UPDATE runs_workspaceturn AS own SET served_turn = GREATEST(own.served_turn, served.turn)
  FROM served WHERE own.workspace_id = %(workspace)s
"""

_TURN = """
virtual_time AS (
    SELECT COALESCE(max(served_turn), 0) AS now FROM runs_workspaceturn
), workspace AS (
    INSERT INTO runs_workspaceturn AS own (workspace_id, last_turn, served_turn)
    SELECT {workspace}, virtual_time.now + 1, 0 FROM virtual_time
    ON CONFLICT (workspace_id) DO UPDATE SET last_turn = GREATEST(own.last_turn + 1, EXCLUDED.last_turn)
    RETURNING last_turn
)"""
_READY = """
INSERT INTO runs_readyrun (run_id, workspace_id, action_id, turn)
SELECT {run}, {workspace}, {action}, workspace.last_turn FROM workspace
ON CONFLICT (run_id) DO UPDATE SET waiting_since = clock_timestamp()
"""
_NAMES = {"run": "%(run)s", "workspace": "%(workspace)s", "action": "%(action)s"}
_MAKE_READY = f"WITH {_TURN}{_READY}".format(**_NAMES)


def make_ready(run_id: int, workspace_id: int, action_id: int) -> None:
    """Put a run that has a ready batch in line: after its workspace's others, at its workspace's turn among all."""
    with prepared_cursor() as cursor:
        cursor.execute(_MAKE_READY, {"run": run_id, "workspace": workspace_id, "action": action_id})


def in_line(run: Run) -> Beside:
    """Return what puts a new run that has a ready batch in line, for the statement that stores it."""
    named = {"run": run, "workspace": run.workspace_id, "action": run.action_id}
    return Beside(f"{_TURN}, ready AS ({_READY})", named)


_MAKE_ALL_READY = """
WITH virtual_time AS (
    SELECT COALESCE(max(served_turn), 0) AS now FROM runs_workspaceturn
), wanted AS (
    SELECT run_id, workspace_id, action_id,
           row_number() OVER (PARTITION BY workspace_id ORDER BY place) AS place,
           count(*) OVER (PARTITION BY workspace_id) AS among
      FROM unnest(%(runs)s::bigint[], %(workspaces)s::bigint[], %(actions)s::bigint[])
           WITH ORDINALITY AS run (run_id, workspace_id, action_id, place)
), workspace AS (
    INSERT INTO runs_workspaceturn AS own (workspace_id, last_turn, served_turn)
    SELECT DISTINCT wanted.workspace_id, virtual_time.now + wanted.among, 0 FROM wanted, virtual_time
     ORDER BY wanted.workspace_id
    ON CONFLICT (workspace_id) DO UPDATE SET last_turn =
        GREATEST(own.last_turn + EXCLUDED.last_turn - (SELECT now FROM virtual_time), EXCLUDED.last_turn)
    RETURNING workspace_id, last_turn
)
INSERT INTO runs_readyrun (run_id, workspace_id, action_id, turn)
SELECT run_id, workspace_id, action_id, workspace.last_turn - wanted.among + wanted.place
  FROM wanted JOIN workspace USING (workspace_id)
ON CONFLICT (run_id) DO UPDATE SET waiting_since = clock_timestamp()
"""


def make_all_ready(runs: Sequence[Run]) -> None:
    """Put many runs that have a ready batch in line as `make_ready` does one, in their order.

    Workspaces are locked in one order, so that two of these at once do not deadlock.
    """
    names = {
        "runs": [run.pk for run in runs],
        "workspaces": [run.workspace_id for run in runs],
        "actions": [run.action_id for run in runs],
    }
    with connection.cursor() as cursor:
        cursor.execute(_MAKE_ALL_READY, names)


def make_unready(run_id: int) -> None:
    """Take a run out of the candidates: nobody claims a batch of it from here on."""
    ReadyRun.objects.filter(pk=run_id).delete()


def restore_lost_ready_runs() -> int:
    """Put runs that have a ready batch back among the candidates, where a race left them out. Returns how many."""
    ready = Batch.objects.filter(run=OuterRef("pk"), status=BatchStatus.READY)
    listed = ReadyRun.objects.filter(pk=OuterRef("pk"))
    runs = Run.objects.places().claimable().filter(Exists(ready), ~Exists(listed), execution_mode=ExecutionMode.ASYNC)
    lost = runs.order_by("pk")[:SWEEP_STEP]
    for run in lost:
        make_ready(run.pk, run.workspace_id, run.action_id)
    return len(lost)


def drop_stale_ready_runs() -> int:
    """Take runs without a batch to claim out of the candidates, where a race left them in. Returns how many."""
    ready = Batch.objects.filter(run=OuterRef("pk"), status=BatchStatus.READY)
    claimable = Run.objects.claimable().filter(pk=OuterRef("pk"))
    deleted, _ = ReadyRun.objects.filter(~Exists(ready) | ~Exists(claimable)).delete()
    return deleted


def ready_count(*, limit: int, but_of: Collection[int] = ()) -> int:
    """Return how many batches wait in line, but those of some actions, counting no further than `limit`."""
    in_line = ReadyRun.objects.exclude(action__in=but_of)
    return Batch.objects.filter(status=BatchStatus.READY, run__in=in_line.values("run_id"))[:limit].count()
