"""Storing runs of inputs that are stored already: what a schedule launches, many at once, in the caller's transaction.

Nothing of the inputs is copied: a run of 100,000 refers to the chunks that the schedule's other runs refer to, and
has a batch for each. The statements are written for many runs, since hundreds of schedules come due together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from uuid_utils.compat import uuid7

from actions import registry
from actions.models import Action
from rest.errors import BadParameters, Conflict, stored_error
from runs import doorbell, launch_checks, lifecycle, outbox, turns
from runs.blocking import why_paused
from runs.callback_requests import with_traceparent
from runs.chunks import DoneBits, unpack_json
from runs.lifecycle import By
from runs.models import (
    ExecutionMode,
    InputChunk,
    InputSet,
    Run,
    RunCallback,
    RunProgress,
    RunStatus,
    RunTransition,
)
from statements.insertion import copy, give_ids
from telemetry import tracing
from webhooks.models import Destination

INVALID_TOLD = 10


@dataclass(frozen=True, slots=True)
class ScheduledCallback:
    """Where a run of a schedule calls back, of what and how (contract section 3)."""

    destination: Destination  # the schedule's own: each run has a copy, so that it goes with its run
    on: str
    per: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledLaunch:
    """All that one run of a schedule begins with. `by` and `reason` go to its timeline."""

    schedule_uid: UUID
    name: str
    workspace_id: int
    user_id: int
    action: Action
    parameters: Mapping[str, Any]
    identity_ids: Sequence[str] | None
    identity_mode: str
    tags: Sequence[str]
    input_set: InputSet
    batch_size: int
    callback: ScheduledCallback | None
    by: By
    reason: str


def store(launches: Sequence[ScheduledLaunch], *, now: datetime) -> list[Run]:
    """Store a run for each launch, with all that it starts with, and return them in order, each with its progress.

    A run is INVALID where nobody is there to refuse it to: its action is switched off or no longer runs on schedules,
    its parameters no longer fit, or none of its inputs does. It is BLOCKED while its action is paused, else QUEUED.
    Where this process lacks the action's code nothing is checked: in a deploy another has it. Workers are rung for
    after the commit.
    """
    if not launches:
        return []
    runs = [_run(one, now=now) for one in launches]
    give_ids(runs)
    transitions: list[RunTransition] = []
    for run, one in zip(runs, launches, strict=True):
        status = _decide(run, one, now=now)
        reason = str(run.last_error["message"])[:500] if run.last_error else ""
        transitions += lifecycle.born(run, status, now=now, by=one.by, reason=reason, why_created=one.reason[:500])
    copy(runs)
    copy([_progress(run) for run in runs])
    copy(transitions)
    _store_callbacks(runs, launches, now=now)
    valid = [run for run in runs if run.status != RunStatus.INVALID]
    if valid:
        _store_batches(valid)
        turns.make_all_ready(valid)
    _ring_after_commit(runs)
    return runs


def _run(one: ScheduledLaunch, *, now: datetime) -> Run:
    return Run(
        uid=uuid7(),
        workspace_id=one.workspace_id,
        user_id=one.user_id,
        action=one.action,
        action_name=one.action.name,
        execution_mode=ExecutionMode.ASYNC,
        name=one.name,
        tags=list(one.tags),
        parameters=one.parameters,
        identity_ids=one.identity_ids,
        identity_mode=one.identity_mode,
        input_set=one.input_set,
        batch_size=one.batch_size,
        schedule_uid=one.schedule_uid,
        schedule_name=one.name,
        traceparent=_traceparent(one),
        created_at=now,
        updated_at=now,
    )


def _traceparent(one: ScheduledLaunch) -> str:
    """Return the traceparent of the request that triggers the schedule, or of a trace that begins here."""
    with tracing.span("launch by schedule", "producer", **{"runyard.schedule_uid": str(one.schedule_uid)}):
        return tracing.current()


def _progress(run: Run) -> RunProgress:
    inputs = run.input_set
    invalid_count = inputs.input_count if run.status == RunStatus.INVALID else inputs.invalid_count
    return RunProgress(
        run=run,
        input_count=inputs.input_count,
        invalid_count=invalid_count,
        remaining=inputs.input_count - invalid_count,
    )


# --- What becomes of it at first


def _decide(run: Run, one: ScheduledLaunch, *, now: datetime) -> RunStatus:
    """Return the status the run is stored with, and set what goes with it."""
    refusal = _switched_off(one.action) or _misfit(one) or _no_valid_input(one.input_set)
    if refusal:
        run.finished_at = now
        run.last_error = {**refusal, "error_ref": str(run.uid)}
        return RunStatus.INVALID
    if one.action.paused:
        run.last_error = why_paused(one.action).error
        return RunStatus.BLOCKED
    return RunStatus.QUEUED


def _switched_off(action: Action) -> dict[str, Any] | None:
    if action.enabled:
        return None
    message, params = f"The action '{action.name}' is switched off.", {"action_name": action.name}
    return stored_error("ACTION_SWITCHED_OFF", message, scope="action", params=params)


def _misfit(one: ScheduledLaunch) -> dict[str, Any] | None:
    """Return why the action as it is now does not take such a launch, where its code is here to say so."""
    definition = registry.get(one.action.name)
    if definition is None:
        return None
    try:
        launch_checks.check_open(definition, one.action, "schedule")
        launch_checks.check_parameters_size(one.parameters)
        problems = launch_checks.parameter_problems(definition, one.parameters)
        if problems:
            raise launch_checks.parameters_refused(problems)
    except (Conflict, BadParameters) as error:
        return stored_error(error.label, error.message, scope=error.error_scope, params=error.params)
    return None


def _no_valid_input(input_set: InputSet) -> dict[str, Any] | None:
    if input_set.invalid_count < input_set.input_count:
        return None
    chunk = InputChunk.objects.filter(input_set=input_set).order_by("first_index").first()
    errors = unpack_json(chunk.invalid) if chunk and chunk.invalid else {}
    told = [
        {"index": int(offset), "problems": error.get("validation_errors", [])}
        for offset, error in list(errors.items())[:INVALID_TOLD]
    ]
    message = f"No input fits the action. inputs[0]: {errors['0']['message']}" if errors else "No input fits."
    return stored_error("BAD_INPUT", message, scope="input", params={"inputs": told})


# --- What it starts with


def _store_callbacks(runs: Sequence[Run], launches: Sequence[ScheduledLaunch], *, now: datetime) -> None:
    """Store where each run calls back, and what is to be called back of it already."""
    wanted = [(run, one.callback) for run, one in zip(runs, launches, strict=True) if one.callback]
    if not wanted:
        return
    copies = [
        Destination(
            receiver_id=callback.destination.receiver_id,
            url=callback.destination.url,
            headers=with_traceparent(callback.destination.headers, run),
            created_at=now,
        )
        for run, callback in wanted
    ]
    Destination.objects.bulk_create(copies)
    callbacks = RunCallback.objects.bulk_create(
        RunCallback(run=run, destination=copy, on=callback.on, per=callback.per)
        for (run, callback), copy in zip(wanted, copies, strict=True)
    )
    for one in callbacks:
        outbox.write_launch(one, invalid_count=one.run.input_set.invalid_count)


_BATCHES = """
INSERT INTO runs_batch (run_id, chunk_id, first_index, input_count, status, attempt, checkpoint, worker, crash_count,
                        done)
SELECT run.id, chunk.id, chunk.first_index, chunk.input_count,
       CASE WHEN chunk.invalid_count = chunk.input_count THEN 'DONE' ELSE 'READY' END, 0, 0, '', 0,
       COALESCE(invalid.done, decode(repeat('00', (chunk.input_count + 7) / 8), 'hex'))
  FROM unnest(%(runs)s::bigint[], %(input_sets)s::bigint[]) WITH ORDINALITY AS run (id, input_set_id, place)
       JOIN runs_inputchunk AS chunk ON chunk.input_set_id = run.input_set_id
       LEFT JOIN unnest(%(chunks)s::bigint[], %(done)s::bytea[]) AS invalid (chunk_id, done)
            ON invalid.chunk_id = chunk.id
 ORDER BY run.place, chunk.first_index
"""


def _store_batches(runs: Sequence[Run]) -> None:
    """Make a batch of each chunk of each run's inputs; what is invalid of it is done."""
    done = _done_of_invalid({run.input_set_id: run.input_set for run in runs}.values())
    names: dict[str, Any] = {
        "runs": [run.pk for run in runs],
        "input_sets": [run.input_set_id for run in runs],
        "chunks": list(done),
        "done": list(done.values()),
    }
    with connection.cursor() as cursor:
        cursor.execute(_BATCHES, names)


def _done_of_invalid(input_sets: Iterable[InputSet]) -> dict[int, bytes]:
    """Return the bits of inputs that are done from the beginning, by chunk, where there are any."""
    with_invalid = [one.pk for one in input_sets if one.invalid_count]
    if not with_invalid:
        return {}
    chunks = InputChunk.objects.filter(input_set__in=with_invalid, invalid_count__gt=0)
    return {
        pk: DoneBits.of_invalid(input_count, invalid).packed()
        for pk, input_count, invalid in chunks.values_list("pk", "input_count", "invalid")
    }


def _ring_after_commit(runs: Sequence[Run]) -> None:
    batches = sum(-(-run.input_set.input_count // run.batch_size) for run in runs if run.status == RunStatus.QUEUED)
    if batches:
        transaction.on_commit(lambda: doorbell.ring(batches))
