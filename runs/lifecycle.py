"""The one state machine of runs: every change of `Run.status` happens here.

A change is one `UPDATE ... WHERE status IN (...)` whose row count says who won, with its timeline row in the same
transaction. Locks are taken in one order everywhere: batches by id, progress, run, then the ready tables.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from runs import counters, dependencies, outbox
from runs.models import TERMINAL, Actor, Run, RunProgress, RunStatus, RunTransition
from statements.cursors import prepared_cursor

S = RunStatus

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    S.CREATED: frozenset({S.QUEUED, S.SCHEDULED, S.BLOCKED, S.INVALID, S.RUNNING, S.FAILED, S.STOPPED}),
    S.QUEUED: frozenset({S.RUNNING, S.BLOCKED, S.INVALID, S.STOPPED, S.FAILED}),  # FAILED: a live call nobody took
    S.SCHEDULED: frozenset({S.QUEUED, S.BLOCKED, S.INVALID, S.STOPPED}),
    # On to RUNNING and the ends where a worker claimed it before anybody said that its limit is open again.
    S.BLOCKED: frozenset(
        {S.QUEUED, S.SCHEDULED, S.INVALID, S.STOPPED, S.RUNNING, S.SUCCEEDED, S.PARTIAL_SUCCEEDED, S.FAILED}
    ),
    S.RUNNING: frozenset({S.SCHEDULED, S.BLOCKED, S.STOPPED, S.SUCCEEDED, S.PARTIAL_SUCCEEDED, S.FAILED}),
    S.STOPPED: frozenset({S.SCHEDULED}),
    S.FAILED: frozenset({S.SCHEDULED}),
    S.PARTIAL_SUCCEEDED: frozenset({S.SCHEDULED}),
    S.SUCCEEDED: frozenset(),
    S.INVALID: frozenset(),
}
"""What may follow what (contract section 2, status lifecycle)."""

DECISIVE = TERMINAL | {S.STOPPED}
"""What runs that wait for this one wait for, or have to know of."""


@dataclass(frozen=True, slots=True)
class By:
    """Who moves a run: a member, a schedule, or the system itself."""

    actor: Actor
    uid: uuid.UUID | None = None


SYSTEM = By(Actor.SYSTEM)


_COLUMNS = {field.name: field for field in Run._meta.concrete_fields}

_MOVE = """
WITH moved AS (
    UPDATE runs_run AS run SET status = %(target)s, updated_at = %(now)s{changes}
      FROM (SELECT id, status FROM runs_run WHERE id = %(run)s FOR NO KEY UPDATE) AS before
     WHERE run.id = before.id AND before.status = ANY(%(from)s)
    RETURNING run.id, run.uid, run.action_name, run.execution_mode, before.status, run.last_error
){announced}
INSERT INTO runs_runtransition (run_id, at, from_status, to_status, actor, actor_uid, reason)
SELECT id, %(now)s, status, %(target)s, %(actor)s, %(actor_uid)s, %(reason)s FROM moved
RETURNING (SELECT uid FROM moved), (SELECT action_name FROM moved), (SELECT execution_mode FROM moved), {is_announced}
"""
_WITH_CALLBACK = {"announced": f",{outbox.OF_END}", "is_announced": "EXISTS (SELECT FROM announced)"}
_WITHOUT_CALLBACK = {"announced": "", "is_announced": "false"}


def move(run_id: int, target: RunStatus, *, now: datetime, by: By = SYSTEM, reason: str = "", **changes: Any) -> bool:
    """Move a run to `target` if its status allows it, with `changes` to other columns of its row.

    Returns whether this call did it: of several at once, exactly one. The status before is read under the row's
    lock, so the timeline tells the truth. Runs that wait for how this one ends are asked to look at it, and that it
    ended is called back.
    """
    values: dict[str, Any] = {
        "run": run_id,
        "target": target.value,
        "from": [status.value for status, following in TRANSITIONS.items() if target in following],
        "now": now,
        "actor": by.actor.value,
        "actor_uid": by.uid,
        "reason": reason,
    }
    for name, value in changes.items():
        values[f"to_{name}"] = _COLUMNS[name].get_db_prep_save(value, connection)
    assignments = "".join(f", {name} = %(to_{name})s" for name in changes)
    callback = _WITH_CALLBACK if _is_called_back(target, by) else _WITHOUT_CALLBACK
    with prepared_cursor() as cursor:
        cursor.execute(_MOVE.format(changes=assignments, **callback), values)
        moved = cursor.fetchone()
    if moved is None:
        return False
    uid, action_name, mode, is_announced = moved
    counters.count_transition(action_name, mode, target.value)
    if is_announced:
        outbox.ring_after_commit()
    if target in DECISIVE:
        dependencies.tell_waiting([uid], met=target in dependencies.MET)
    return True


def _is_called_back(target: RunStatus, by: By) -> bool:
    """Whether a run calls back that it is `target` now: it has ended, or the system has stopped it."""
    return target in TERMINAL or (target == S.STOPPED and by.actor == Actor.SYSTEM)


def born(
    run: Run, status: RunStatus, *, now: datetime, by: By, reason: str = "", why_created: str = "launched"
) -> list[RunTransition]:
    """Set the status a new run is stored with and return its first timeline rows, not yet saved.

    A run is stored as CREATED and moves on in the same transaction, so one INSERT carries where it ends up.
    """
    if status not in TRANSITIONS[S.CREATED]:
        raise ValueError(f"a run cannot begin as {status}")
    run.status = status
    counters.count_transition(run.action_name, run.execution_mode, S.CREATED.value, status.value)
    created = RunTransition(
        run=run, at=now, from_status=None, to_status=S.CREATED, actor=by.actor, actor_uid=by.uid, reason=why_created
    )
    moved = RunTransition(run=run, at=now, from_status=S.CREATED, to_status=status, actor=Actor.SYSTEM, reason=reason)
    return [created, moved]


def outcome(*, input_count: int, succeeded_count: int) -> RunStatus:
    """Return the status a run ends with, by how many of its inputs succeeded."""
    if succeeded_count == input_count:
        return S.SUCCEEDED
    return S.PARTIAL_SUCCEEDED if succeeded_count else S.FAILED


def finish(progress: RunProgress, *, last_error: dict[str, Any] | None, now: datetime) -> bool:
    """End a run whose every input has a result, with the error of one that failed. Returns whether this call did it.

    For whoever brought `remaining` to 0, in that transaction, holding the progress row.
    """
    if progress.remaining:
        raise ValueError("a run ends only when every input has a result")
    status = outcome(input_count=progress.input_count, succeeded_count=progress.succeeded_count)
    return move(progress.run_id, status, now=now, finished_at=now, postponed_until=None, last_error=last_error)
