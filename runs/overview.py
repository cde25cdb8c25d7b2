"""How all runs stand, and what became of the latest: a few figures, each read from a bounded number of rows.

`workspaces` are the ids of those whose runs count; None is for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from runs.models import HAS_ENDED_SQL, TERMINAL, RunStatus

READ_AT_MOST = 200_000
GROUPS_AT_MOST = 8

Workspaces = Sequence[int] | None


@dataclass(frozen=True, slots=True)
class Queue:
    """The unfinished runs of an action that have one status, and how many of their inputs are to have a result.

    Of those that are STOPPED none is, until they are resumed.
    """

    action_name: str
    status: RunStatus
    runs: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Runs of an action that failed, or wait for a limit, for the same reason; `label` and `message` may be empty."""

    action_name: str
    label: str
    message: str
    runs: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many runs ended in a status: in the last hour, and in the last day."""

    status: RunStatus
    hour: int
    day: int


@dataclass(frozen=True, slots=True)
class Interval:
    """How many inputs got a result in the time from `begin` on."""

    begin: datetime
    succeeded: int
    failed: int


_OF_WORKSPACES = "(%(workspaces)s::bigint[] IS NULL OR run.workspace_id = ANY(%(workspaces)s))"
_HAS_ENDED = f"run.{HAS_ENDED_SQL}"

_QUEUES = f"""
SELECT action_name, status, count(*), sum(remaining)
  FROM (SELECT run.action_name, run.status,
               -- One by one, where it matters: joined, the progress of all runs there are was read.
               CASE WHEN run.status = 'STOPPED' THEN 0
                    ELSE (SELECT remaining FROM runs_runprogress WHERE run_id = run.id) END AS remaining
          FROM runs_run AS run
         WHERE NOT ({_HAS_ENDED}) AND {_OF_WORKSPACES}
         LIMIT %(limit)s) AS run
 GROUP BY action_name, status
 ORDER BY sum(remaining) DESC, action_name, status
"""


def queues(workspaces: Workspaces) -> list[Queue]:
    """Return the unfinished runs by action and status, those with most left to do first."""
    return [
        Queue(action_name, RunStatus(status), runs, int(remaining))
        for action_name, status, runs, remaining in _rows(_QUEUES, workspaces=workspaces)
    ]


_BLOCKED = f"""
SELECT action_name, COALESCE(label, ''), COALESCE(min(message), ''), count(*)
  FROM (SELECT run.action_name, run.last_error ->> 'label' AS label, run.last_error ->> 'message' AS message
          FROM runs_run AS run
         WHERE NOT ({_HAS_ENDED}) AND run.status = 'BLOCKED' AND {_OF_WORKSPACES}
         LIMIT %(limit)s) AS run
 GROUP BY action_name, label
 ORDER BY count(*) DESC, action_name LIMIT %(groups)s
"""


def blocked(workspaces: Workspaces) -> list[Trouble]:
    """Return the runs that wait for a limit or for another run, by action and reason."""
    return [Trouble(*row) for row in _rows(_BLOCKED, workspaces=workspaces)]


_FAILED = f"""
SELECT action_name, COALESCE(label, ''), COALESCE(min(message), ''), count(*)
  FROM (SELECT run.action_name, run.status, run.last_error ->> 'label' AS label,
               run.last_error ->> 'message' AS message
          FROM runs_run AS run
         WHERE {_HAS_ENDED} AND run.finished_at >= %(since)s AND {_OF_WORKSPACES} AND run.status = 'FAILED'
         ORDER BY run.finished_at DESC LIMIT %(limit)s) AS run
 GROUP BY action_name, label
 ORDER BY count(*) DESC, action_name LIMIT %(groups)s
"""


def failed(workspaces: Workspaces, *, since: datetime) -> list[Trouble]:
    """Return the runs that FAILED since then, by action and the label of the error, the most frequent first."""
    return [Trouble(*row) for row in _rows(_FAILED, workspaces=workspaces, since=since)]


_OUTCOMES = f"""
SELECT status, count(*) FILTER (WHERE finished_at >= %(hour)s), count(*)
  FROM (SELECT run.status, run.finished_at FROM runs_run AS run
         WHERE {_HAS_ENDED} AND run.finished_at >= %(day)s AND {_OF_WORKSPACES}
         ORDER BY run.finished_at DESC LIMIT %(limit)s) AS run
 GROUP BY status
"""


def outcomes(workspaces: Workspaces, *, now: datetime) -> list[Outcome]:
    """Return how many runs ended in each status; of those of the last day at most READ_AT_MOST count."""
    times = {"hour": now - timedelta(hours=1), "day": now - timedelta(days=1)}
    found = {status: (hour, day) for status, hour, day in _rows(_OUTCOMES, workspaces=workspaces, **times)}
    return [Outcome(status, *found.get(status, (0, 0))) for status in RunStatus if status in TERMINAL]


_RECORDED = """
SELECT date_bin(%(step)s, created_at, %(since)s), sum(succeeded_count), sum(failed_count)
  FROM (SELECT chunk.created_at, chunk.succeeded_count, chunk.failed_count
          FROM runs_resultchunk AS chunk {of_workspaces}
         WHERE chunk.created_at >= %(since)s
         ORDER BY chunk.created_at DESC LIMIT %(limit)s) AS chunk
 GROUP BY 1
"""
_RECORDED_IN_ALL = _RECORDED.format(of_workspaces="")
_RECORDED_IN_SOME = _RECORDED.format(
    of_workspaces="JOIN runs_run AS run ON run.id = chunk.run_id AND run.workspace_id = ANY(%(workspaces)s)"
)


def recorded(workspaces: Workspaces, *, until: datetime, step: timedelta, steps: int) -> list[Interval]:
    """Return how many inputs got a result in each of the last `steps` intervals of `step`, oldest first.

    At most the latest READ_AT_MOST checkpoints are read: each has the results of up to some hundred inputs.
    """
    since = until - steps * step
    statement = _RECORDED_IN_ALL if workspaces is None else _RECORDED_IN_SOME
    found = {begin: counts for begin, *counts in _rows(statement, workspaces=workspaces, since=since, step=step)}
    begins = [since + number * step for number in range(steps)]
    return [Interval(begin, *map(int, found.get(begin, (0, 0)))) for begin in begins]


def _rows(statement: str, *, workspaces: Workspaces, **values: Any) -> list[tuple[Any, ...]]:
    names = {"workspaces": None if workspaces is None else list(workspaces), **values}
    with connection.cursor() as cursor:
        cursor.execute(statement, {"limit": READ_AT_MOST, "groups": GROUPS_AT_MOST, **names})
        return cursor.fetchall()
