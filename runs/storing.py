"""Storing a launched run with all it starts with: inputs, batches, counters, timeline, and its place in line."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from runs import inputs, lifecycle, outbox, turns
from runs.chunks import DoneBits
from runs.inputs import PreparedInputs
from runs.lifecycle import By
from runs.models import (
    Actor,
    Batch,
    BatchStatus,
    Dependency,
    ExecutionMode,
    InputChunk,
    Run,
    RunCallback,
    RunProgress,
    RunStatus,
)
from statements.insertion import insert_together


def store(
    run: Run,
    prepared: PreparedInputs,
    status: RunStatus,
    waits_for: Sequence[UUID],
    callback: RunCallback | None,
) -> None:
    """Store a new run with `status`. It has its input set, with its id, afterwards.

    In a transaction of the caller's, unless it `is_one_statement`.
    """
    run.input_set = inputs.input_set_of(prepared, run.workspace)
    by = By(Actor.MEMBER, run.user.uid)
    transitions = lifecycle.born(run, status, now=run.created_at, by=by, reason=_reason(run, status))
    invalid_count = prepared.input_count if status == RunStatus.INVALID else prepared.invalid_count
    progress = RunProgress(
        run=run,
        input_count=prepared.input_count,
        invalid_count=invalid_count,
        remaining=prepared.input_count - invalid_count,
    )
    waiting = [Dependency(run=run, depends_on_uid=uid) for uid in waits_for]
    called_back = [callback.destination, callback] if callback else []
    rows = [run.input_set, run, progress, *transitions, *waiting, *called_back]
    is_claimable = status in (RunStatus.QUEUED, RunStatus.BLOCKED) and not waits_for
    is_in_line = is_claimable and run.execution_mode == ExecutionMode.ASYNC
    if _is_small(prepared, status):
        (chunk,) = prepared.chunks
        insert_together([*rows, chunk, _batch(run, chunk)], turns.in_line(run) if is_in_line else None)
    else:
        insert_together(rows)
        inputs.store_chunks(prepared.chunks, run.input_set)
        if status != RunStatus.INVALID:
            _store_batches(run, prepared.chunks)
        if is_in_line:
            turns.make_ready(run.pk, run.workspace_id, run.action_id)
    if callback:
        outbox.write_launch(callback, invalid_count=prepared.invalid_count)


def is_one_statement(prepared: PreparedInputs, status: RunStatus, callback: RunCallback | None) -> bool:
    """Return whether `store` is all or nothing by itself, without a transaction around it."""
    return _is_small(prepared, status) and callback is None


def _is_small(prepared: PreparedInputs, status: RunStatus) -> bool:
    return len(prepared.chunks) == 1 and status != RunStatus.INVALID


def _reason(run: Run, status: RunStatus) -> str:
    if run.last_error:
        return str(run.last_error["message"])[:500]
    return {RunStatus.SCHEDULED: "start_after", RunStatus.BLOCKED: "depends_on"}.get(status, "")


def _store_batches(run: Run, chunks: Sequence[InputChunk]) -> None:
    """Make a batch of each chunk."""
    batches = [_batch(run, chunk) for chunk in chunks]
    if len(batches) <= inputs.COPY_FROM:
        Batch.objects.bulk_create(batches)
        return
    columns = "run_id, chunk_id, first_index, input_count, status, attempt, checkpoint, worker, crash_count, done"
    with connection.cursor() as cursor, cursor.copy(f"COPY runs_batch ({columns}) FROM STDIN") as copy:
        for one in batches:
            copy.write_row((run.pk, one.chunk_id, one.first_index, one.input_count, one.status, 0, 0, "", 0, one.done))


def _batch(run: Run, chunk: InputChunk) -> Batch:
    return Batch(
        run=run,
        chunk=chunk,
        first_index=chunk.first_index,
        input_count=chunk.input_count,
        status=BatchStatus.DONE if chunk.invalid_count == chunk.input_count else BatchStatus.READY,
        done=DoneBits.of_invalid(chunk.input_count, chunk.invalid).packed(),
    )
