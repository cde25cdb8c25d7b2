"""Launching: from what a caller asks for to a run that is stored durably, in one transaction.

The answer needs the database and nothing else. The doorbell is rung after the commit; when nobody hears it the sweep
finds the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from uuid_utils.compat import uuid7

from actions import ActionDefinition, catalogue
from actions.limits import Limits
from actions.models import Action
from actions.problems import Problem, describe
from rest.errors import stored_error
from runs import dependencies, doorbell, inputs, launch_checks, quotas, storing
from runs.blocking import why_paused
from runs.callback_requests import AskedCallback, CheckedCallback
from runs.dependencies import Outlook
from runs.inputs import PreparedInputs
from runs.models import ExecutionMode, Run, RunCallback, RunStatus
from telemetry import tracing
from workspaces.models import User, Workspace
from workspaces.quotas import Room, hold

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
    room: Room
    waits_for: Sequence[UUID] = ()
    callback: RunCallback | None = None

    def store(self) -> Run:
        """Store the run with all it starts with, in one transaction or in the caller's, and return it.

        Raises:
            LimitReached: others that were launched at the same moment took the room there was.
        """
        if self.room.is_wide and storing.is_one_statement(self.inputs, self.status, self.callback):
            self._store()
        else:
            with transaction.atomic():
                hold(self.room)
                self._store()
        return self.run

    def _store(self) -> None:
        storing.store(self.run, self.inputs, self.status, self.waits_for, self.callback)
        transaction.on_commit(self._log)  # what leads from the request's id to the run

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
    definition, action = launch_checks.find_open(action_name, "async")
    room = quotas.check_one_more(workspace)
    standings = dependencies.find(asked.depends_on, workspace=workspace)
    call = check_async(definition, action, asked)
    run = _run(action, asked, ExecutionMode.ASYNC, workspace=workspace, user=user, now=now)
    run.name, run.tags, run.batch_size = asked.name, list(asked.tags), call.inputs.batch_size
    run.depends_on = list(asked.depends_on)
    outlook = dependencies.outlook(run, standings)
    status = _decide(run, call.inputs, call.parameter_problems, outlook, start_after=asked.start_after, now=now)
    waits_for = () if status == RunStatus.INVALID else outlook.unmet
    callback = call.callback.of(run) if call.callback else None
    return PreparedRun(run, call.inputs, status, call.limits, room, waits_for, callback)


def check_async(definition: ActionDefinition, action: Action, asked: AsyncLaunch) -> CheckedCall:
    """Check the parameters, the callback and the inputs of an async launch, and pack these.

    Raises:
        BadInput: there are no inputs or too many; with `reject`, one does not fit; or its callback may not be made.
        BadParameters: they are too large; with `reject`, they do not fit.
    """
    launch_checks.check_count(len(asked.inputs))
    launch_checks.check_parameters_size(asked.parameters)
    called_back = asked.callback.check() if asked.callback else None
    problems = launch_checks.parameter_problems(definition, asked.parameters)
    if problems and asked.on_invalid == REJECT:
        raise launch_checks.parameters_refused(problems)
    limits = catalogue.limits(definition, action)
    batch_size = asked.batch_size or inputs.default_batch_size(len(asked.inputs), definition, limits)
    prepared = inputs.prepare(asked.inputs, definition, batch_size=batch_size)
    if prepared.invalid_count and asked.on_invalid == REJECT:
        raise launch_checks.inputs_refused(prepared)
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
    definition, action = launch_checks.find_open(action_name, "live")
    launch_checks.check_not_paused(action)
    limits = catalogue.limits(definition, action)
    if limits.rate:
        launch_checks.check_rate(action, limits.rate, now=now)
    room = quotas.check_one_more(workspace)
    launch_checks.check_parameters_size(asked.parameters)
    problems = launch_checks.parameter_problems(definition, asked.parameters)
    if problems:
        raise launch_checks.parameters_refused(problems)
    prepared = inputs.prepare([asked.input], definition, batch_size=1)
    if prepared.invalid_count:
        raise launch_checks.input_refused(prepared)
    run = _run(action, asked, ExecutionMode.LIVE, workspace=workspace, user=user, now=now)
    return PreparedRun(run, prepared, RunStatus.QUEUED, limits, room)


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
