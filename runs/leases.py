"""A batch in a worker's hands: what a claim hands over, read in one statement.

`runs.dispatch` gives leases and takes them back; whoever executes, records or renews names the one it holds.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actions.models import Action
from runs.chunks import DoneBits
from runs.models import ExecutionMode
from statements.cursors import binary_cursor

Retries = dict[int, dict[str, Any]]
"""Of inputs that asked to be tried again, by offset: how often they were tried, and when they are due (epoch s)."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """The input that a careful batch was at when its process was lost.

    `lived_s` is for how long its process was at it, at most; None where nobody saw the process dead.
    """

    offset: int
    deaths: int
    since: datetime | None
    lived_s: float | None


@dataclass(slots=True)
class Lease:
    """A batch in this worker's hands, with all it needs to execute it."""

    batch_id: int
    attempt: int
    checkpoint: int
    epoch: int
    generation: int
    run_id: int
    run_uid: uuid.UUID
    workspace_id: int
    action: Action
    parameters: dict[str, Any]
    identity_ids: Any
    identity_mode: str
    first_index: int
    done: DoneBits
    retries: Retries
    inputs: bytes
    is_live: bool
    calls_back_results: bool
    is_careful: bool
    traceparent: str
    suspect: Suspect | None


_ACTION_COLUMNS = ("id", "name", "timeout_s", "max_attempts", "concurrency", "max_concurrency", "rate")

# Written out, because it runs for every batch: Django takes five times as long to put it together.
OF_BATCH = f"""
SELECT batch.id, batch.run_id, batch.attempt, batch.checkpoint, batch.first_index, batch.input_count, batch.done,
       batch.retries, batch.careful, batch.suspect, batch.suspect_since, batch.suspect_died_at, batch.suspect_deaths,
       chunk.inputs, run.uid, run.workspace_id, run.status, run.started_at, run.parameters,
       run.execution_mode, run.traceparent, run.identity_ids, run.identity_mode, progress.epoch, progress.generation,
       {", ".join(f"action.{name} AS action_{name}" for name in _ACTION_COLUMNS)},
       NOT EXISTS (SELECT FROM runs_batch AS other
                    WHERE other.run_id = run.id AND other.status = 'READY' AND other.id <> batch.id) AS is_last,
       -- Each asked for its own run: of EXISTS PostgreSQL may read the whole table into a hash.
       (SELECT true FROM runs_dependency AS unmet WHERE unmet.run_id = run.id LIMIT 1) IS NOT NULL AS is_dependent,
       (SELECT true FROM runs_runcallback AS callback
         WHERE callback.run_id = run.id AND callback."on" = 'all' LIMIT 1) IS NOT NULL AS calls_back_results
  FROM {{batch}} AS batch
       JOIN runs_inputchunk AS chunk ON chunk.id = batch.chunk_id
       JOIN runs_run AS run ON run.id = batch.run_id
       JOIN runs_runprogress AS progress ON progress.run_id = run.id
       JOIN actions_action AS action ON action.id = run.action_id
"""
"""What a lease holds, and where its run stands. `batch` is the table, or what a statement returned of it."""


def read(statement: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the one row of a statement that ends in `OF_BATCH`, by column; None where it has none."""
    with binary_cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
        return None if row is None else dict(zip([column.name for column in cursor.description], row, strict=True))


def lease_of(row: Mapping[str, Any]) -> Lease:
    """Return the lease of a batch that was claimed, from what `read` returned."""
    return Lease(
        batch_id=row["id"],
        attempt=row["attempt"],
        checkpoint=row["checkpoint"],
        epoch=row["epoch"],
        generation=row["generation"],
        run_id=row["run_id"],
        run_uid=row["uid"],
        workspace_id=row["workspace_id"],
        action=Action(**{name: row[f"action_{name}"] for name in _ACTION_COLUMNS}),
        parameters=row["parameters"],
        identity_ids=row["identity_ids"],
        identity_mode=row["identity_mode"],
        first_index=row["first_index"],
        done=DoneBits(row["input_count"], row["done"]),
        retries=load_retries(row["retries"]),
        inputs=row["inputs"],
        is_live=row["execution_mode"] == ExecutionMode.LIVE,
        calls_back_results=row["calls_back_results"],
        is_careful=row["careful"],
        traceparent=row["traceparent"],
        suspect=_suspect(row),
    )


def _suspect(row: Mapping[str, Any]) -> Suspect | None:
    offset, since, died_at = row["suspect"], row["suspect_since"], row["suspect_died_at"]
    if not row["suspect_deaths"]:
        return None
    if offset is None:  # lost before anything was marked: counted only where one input was left
        left = DoneBits(row["input_count"], row["done"]).missing()
        return Suspect(left[0], row["suspect_deaths"], None, None) if len(left) == 1 else None
    lived_s = (died_at - since).total_seconds() if died_at and since else None
    return Suspect(offset, row["suspect_deaths"], since, lived_s)


def load_retries(stored: Mapping[str, Any] | None) -> Retries:
    return {int(offset): retry for offset, retry in (stored or {}).items()}


def dump_retries(retries: Retries) -> dict[str, Any] | None:
    return {str(offset): retry for offset, retry in retries.items()} or None
