"""Launching: from checked arguments to a run that is stored durably, in one transaction.

The answer needs the database and nothing else. The doorbell is rung after the commit; when nobody hears it the sweep
finds the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from pydantic_core import to_json
from uuid_utils.compat import uuid7

from actions import ActionDefinition, catalogue
from actions.limits import Limits
from actions.models import Action
from actions.problems import Problem, describe
from rest.errors import BadInput, BadParameters, Conflict, Unavailable, stored_error
from rest.json import rfc3339
from runs import dependencies, doorbell, gates, inputs, lifecycle, outbox, quotas, turns
from runs.blocking import why_paused
from runs.callback_requests import AskedCallback, CheckedCallback
from runs.chunks import DoneBits, unpack_json
from runs.dependencies import Outlook
from runs.inputs import PreparedInputs
from runs.insertion import insert_together
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
from telemetry import tracing
from workspaces.models import User, Workspace

log = structlog.get_logger(__name__)

SKIP, REJECT = "skip", "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What every launch may ask for, its shape checked (`runs.serializers`); see contract section 1 for each field."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    identity_ids: Sequence[str] | None = None
    identity_mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLaunch(Launch):
    """What a live call asks for."""

    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncLaunch(Launch):
    """What an async launch asks for."""

    inputs: Sequence[Any]
    callback: AskedCallback | None = None
    name: str = ""
    tags: Sequence[str] = ()
    depends_on: Sequence[UUID] = ()
    start_after: datetime | None = None
    batch_size: int | None = None
    on_invalid: str = SKIP


@dataclass(frozen=True, slots=True)
class CheckedCall:
    """What a launch on many inputs asks for, checked: its inputs packed, and why its parameters do not fit."""

    action: Action
    limits: Limits
    inputs: PreparedInputs
    parameter_problems: list[Problem]
    callback: CheckedCallback | None


@dataclass(slots=True)
class PreparedRun:
    """A run that was checked and can be stored: nothing is written yet."""

    run: Run
    inputs: PreparedInputs
    status: RunStatus
    limits: Limits
    waits_for: Sequence[UUID] = ()
    callback: RunCallback | None = None

    def store(self) -> Run:
        """Store the run with all it starts with, in one transaction or in the caller's, and return it."""
        with transaction.atomic():
            _store(self.run, self.inputs, self.status, self.waits_for, self.callback)
            transaction.on_commit(self._log)  # what leads from the request's id to the run
        return self.run

    def _log(self) -> None:
        run = self.run
        told = {"action": run.action_name, "mode": run.execution_mode, "inputs": self.inputs.input_count}
        log.info("run_launched", run_uid=str(run.uid), status=run.status, **told)

    def ring(self) -> bool:
        """Wake who executes it, after the commit. Returns whether the broker took the message."""
        if self.status != RunStatus.QUEUED:
            return False
        if self.run.execution_mode == ExecutionMode.LIVE:
            return doorbell.ring(bell=doorbell.LIVE)
        return doorbell.ring(len(self.inputs.chunks))


def launch_async(action_name: str, asked: AsyncLaunch, *, workspace: Workspace, user: User, now: datetime) -> Run:
    """Store a run of `action_name` on up to 100,000 inputs and return it, with its progress.

    Raises: what `prepare_async` does.
    """
    prepared = prepare_async(action_name, asked, workspace=workspace, user=user, now=now)
    run = prepared.store()
    prepared.ring()
    return run


def prepare_async(
    action_name: str, asked: AsyncLaunch, *, workspace: Workspace, user: User, now: datetime
) -> PreparedRun:
    """Check an async launch and return its run, ready to be stored.

    Inputs that do not fit the action are recorded as failed, or with `on_invalid: reject` refuse the launch. A run
    that has no valid input, whose parameters do not fit, or that depends on an INVALID one, is stored as INVALID with
    the reason.

    Raises:
        NotFound: there is no such action.
        Conflict: the action is switched off, or does not run async.
        BadInput: there are no inputs or too many; with `reject`, one does not fit; or a run that it depends
            on is not there; or its callback may not be made.
        BadParameters: they are too large; with `reject`, they do not fit.
        LimitReached: the workspace has as many unfinished runs, or as much stored, as it may.
    """
    definition, action = find_open(action_name, "async")
    quotas.check_one_more(workspace)
    standings = dependencies.find(asked.depends_on, workspace=workspace)
    call = check_async(definition, action, asked)
    run = _run(action, asked, ExecutionMode.ASYNC, workspace=workspace, user=user, now=now)
    run.name, run.tags, run.batch_size = asked.name, list(asked.tags), call.inputs.batch_size
    run.depends_on = list(asked.depends_on)
    outlook = dependencies.outlook(run, standings)
    status = _decide(run, call.inputs, call.parameter_problems, outlook, start_after=asked.start_after, now=now)
    waits_for = () if status == RunStatus.INVALID else outlook.unmet
    callback = call.callback.of(run) if call.callback else None
    return PreparedRun(run, call.inputs, status, call.limits, waits_for, callback)


def find_open(action_name: str, mode: str) -> tuple[ActionDefinition, Action]:
    """Return the code and the row of an action that may be launched in `mode`, one of `actions.options.MODES`.

    Raises:
        NotFound: there is no such action.
        Conflict: it is switched off, or does not run in this mode.
    """
    definition, action = catalogue.find(action_name)
    check_open(definition, action, mode)
    return definition, action


def check_async(definition: ActionDefinition, action: Action, asked: AsyncLaunch) -> CheckedCall:
    """Check the parameters, the callback and the inputs of an async launch, and pack these.

    Raises:
        BadInput: there are no inputs or too many; with `reject`, one does not fit; or its callback may not be made.
        BadParameters: they are too large; with `reject`, they do not fit.
    """
    check_count(len(asked.inputs))
    check_parameters_size(asked.parameters)
    called_back = asked.callback.check() if asked.callback else None
    problems = parameter_problems(definition, asked.parameters)
    if problems and asked.on_invalid == REJECT:
        raise parameters_refused(problems)
    limits = catalogue.limits(definition, action)
    batch_size = asked.batch_size or inputs.default_batch_size(len(asked.inputs), definition, limits)
    prepared = inputs.prepare(asked.inputs, definition, batch_size=batch_size)
    if prepared.invalid_count and asked.on_invalid == REJECT:
        raise inputs_refused(prepared)
    return CheckedCall(action, limits, prepared, problems, called_back)


def prepare_live(
    action_name: str, asked: LiveLaunch, *, workspace: Workspace, user: User, now: datetime
) -> PreparedRun:
    """Check a live call and return its run, ready to be stored.

    Raises:
        NotFound: there is no such action.
        Conflict: the action is switched off, or does not run live.
        Unavailable: the action is paused, or its rate is used up.
        BadInput: the input does not fit.
        BadParameters: the parameters do not fit, or are too large.
        LimitReached: the workspace has as many unfinished runs, or as much stored, as it may.
    """
    definition, action = find_open(action_name, "live")
    if action.paused:
        raise Unavailable(
            f"The action '{action.name}' is paused. Try again later, or launch it async: such a run waits.",
            {"action_name": action.name, "paused": True},
            retry_after_s=PAUSED_RETRY_AFTER_S,
        )
    limits = catalogue.limits(definition, action)
    if limits.rate:
        _check_rate(action, limits.rate, now=now)
    quotas.check_one_more(workspace)
    check_parameters_size(asked.parameters)
    problems = parameter_problems(definition, asked.parameters)
    if problems:
        raise parameters_refused(problems)
    prepared = inputs.prepare([asked.input], definition, batch_size=1)
    if prepared.invalid_count:
        raise _input_refused(prepared)
    run = _run(action, asked, ExecutionMode.LIVE, workspace=workspace, user=user, now=now)
    return PreparedRun(run, prepared, RunStatus.QUEUED, limits)


PAUSED_RETRY_AFTER_S = 30
LONGEST_WAIT = timedelta(seconds=2)  # for the rate of a live call's action


def _run(action: Action, asked: Launch, mode: ExecutionMode, *, workspace: Workspace, user: User, now: datetime) -> Run:
    return Run(
        uid=uuid7(),
        workspace=workspace,
        user=user,
        action=action,
        action_name=action.name,
        execution_mode=mode,
        parameters=asked.parameters,
        identity_ids=asked.identity_ids,
        identity_mode=asked.identity_mode or "",
        batch_size=1,
        traceparent=tracing.current(),
        created_at=now,
        updated_at=now,
    )


def check_open(definition: ActionDefinition, action: Action, mode: str) -> None:
    """Raise `Conflict` where the action is switched off, or does not run in `mode`, one of `actions.options.MODES`."""
    if not action.enabled:
        raise Conflict(f"The action '{action.name}' is switched off.", {"action_name": action.name, "enabled": False})
    if mode not in definition.modes:
        raise Conflict(
            f"The action '{action.name}' does not run {'on schedules' if mode == 'schedule' else mode};"
            f" its modes are {', '.join(definition.modes)}.",
            {"action_name": action.name, "modes": list(definition.modes)},
        )


def _check_rate(action: Action, rate: str, *, now: datetime) -> None:
    """Refuse a live call that would wait for longer than a moment, and hold a place of other actions' calls."""
    until = gates.used_up_until(action)
    if until and until - now > LONGEST_WAIT:
        wait_s = math.ceil((until - now).total_seconds())
        raise Unavailable(
            f"The rate of the action '{action.name}', {rate}, is used up. Try again in {wait_s:,} s, or launch it"
            " async: such a run waits.",
            {"action_name": action.name, "rate": rate, "until": rfc3339(until)},
            retry_after_s=wait_s,
        )


def check_count(count: int, *, at_least: int = 1) -> None:
    """Raise `BadInput` for more inputs than one run takes, or for fewer than `at_least`."""
    limit = settings.RUNYARD_MAX_INPUTS
    if count < at_least:
        raise BadInput("inputs: there are none. Send 1 or more.", {"field": "inputs", "min_items": 1})
    if count > limit:
        raise BadInput(
            f"inputs: {count:,} are more than the {limit:,} one run takes (RUNYARD_MAX_INPUTS).",
            {"field": "inputs", "max_items": limit, "setting": "RUNYARD_MAX_INPUTS"},
        )


def check_parameters_size(parameters: Mapping[str, Any]) -> None:
    """Raise `BadParameters` for parameters that are too large."""
    limit = settings.RUNYARD_MAX_PARAMETERS_BYTES
    size = len(to_json(parameters))
    if size > limit:
        raise BadParameters(
            f"parameters: {size:,} bytes of JSON are over the limit of {limit:,} (RUNYARD_MAX_PARAMETERS_BYTES).",
            {"field": "parameters", "max_bytes": limit, "setting": "RUNYARD_MAX_PARAMETERS_BYTES"},
        )


def parameter_problems(definition: ActionDefinition, parameters: Mapping[str, Any]) -> list[Problem]:
    """Return why the action does not take these parameters; nothing where it does."""
    try:
        rest, _ = definition.split_max_results(parameters)
    except BadParameters:
        return [Problem(field="max_results", reason="must be a positive integer")]
    return definition.check_parameters(rest) or []


def parameters_refused(problems: list[Problem]) -> BadParameters:
    """Return the error for parameters that the action does not take."""
    return BadParameters(f"parameters: {describe(problems)}", {"problems": problems})


def _input_refused(prepared: PreparedInputs) -> BadInput:
    problems = prepared.refused[0]["problems"]
    field_of_input = problems[0]["field"]
    return BadInput(
        f"input: {describe(problems)}",
        {"field": f"input.{field_of_input}" if field_of_input else "input", "problems": problems},
    )


def inputs_refused(prepared: PreparedInputs) -> BadInput:
    """Return the error for inputs of which some do not fit the action: the first hundred of these, by index."""
    first = prepared.refused[0]
    return BadInput(
        f"inputs[{first['index']}]: {describe(first['problems'])}. "
        f"{prepared.invalid_count:,} of {prepared.input_count:,} inputs do not fit; nothing was stored.",
        {
            "field": "inputs",
            "invalid_count": prepared.invalid_count,
            "input_count": prepared.input_count,
            "inputs": prepared.refused,
        },
    )


def _decide(
    run: Run,
    prepared: PreparedInputs,
    problems: list[Problem],
    outlook: Outlook,
    *,
    start_after: datetime | None,
    now: datetime,
) -> RunStatus:
    """Return the status the run is stored with, and set what goes with it."""
    if problems:
        message = f"parameters: {describe(problems)}"
        run.last_error = stored_error(
            "BAD_PARAMETERS", message, scope="parameters", params={"problems": problems}, error_ref=str(run.uid)
        )
    elif prepared.invalid_count == prepared.input_count:
        first = prepared.refused[0]
        message = f"No input fits the action. inputs[{first['index']}]: {describe(first['problems'])}"
        run.last_error = stored_error(
            "BAD_INPUT", message, scope="input", params={"inputs": prepared.refused[:10]}, error_ref=str(run.uid)
        )
    elif outlook.is_hopeless:
        run.last_error = outlook.error
    if run.last_error:
        run.finished_at = now
        return RunStatus.INVALID
    if start_after and start_after > now:
        run.postponed_until = start_after
        return RunStatus.SCHEDULED
    if outlook.unmet:
        run.last_error = outlook.error
        return RunStatus.BLOCKED
    if run.action.paused:
        run.last_error = why_paused(run.action).error
        return RunStatus.BLOCKED
    return RunStatus.QUEUED


def _store(
    run: Run,
    prepared: PreparedInputs,
    status: RunStatus,
    waits_for: Sequence[UUID],
    callback: RunCallback | None,
) -> None:
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
    if len(prepared.chunks) == 1 and status != RunStatus.INVALID:
        (chunk,) = prepared.chunks
        insert_together([*rows, chunk, _batch(run, chunk)])
    else:
        insert_together(rows)
        inputs.store_chunks(prepared.chunks, run.input_set)
        if status != RunStatus.INVALID:
            _store_batches(run, prepared.chunks)
    if callback:
        outbox.write_launch(callback, invalid_count=prepared.invalid_count)
    is_claimable = status in (RunStatus.QUEUED, RunStatus.BLOCKED) and not waits_for
    if is_claimable and run.execution_mode == ExecutionMode.ASYNC:
        turns.make_ready(run.pk, run.workspace_id, run.action_id)


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
    done = DoneBits(chunk.input_count)
    for offset in unpack_json(chunk.invalid) if chunk.invalid else ():
        done.add(int(offset))
    return Batch(
        run=run,
        chunk=chunk,
        first_index=chunk.first_index,
        input_count=chunk.input_count,
        status=BatchStatus.DONE if chunk.invalid_count == chunk.input_count else BatchStatus.READY,
        done=done.packed(),
    )
