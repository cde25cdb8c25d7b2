"""Making a schedule: from checked arguments to rows that are stored durably, in one transaction.

What its runs would be refused for is refused here, on the day it is made and not at its first due time.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from uuid_utils.compat import uuid7

from actions import ActionDefinition
from actions.models import Action
from runs import inputs, launch, launch_checks
from runs.inputs import PreparedInputs
from runs.launch import AsyncLaunch, CheckedCall
from runs.models import InputSet
from runs.quotas import STORED_BYTES
from schedules import when as whens
from schedules.clock import database_time
from schedules.models import Schedule, ScheduleStatus
from schedules.quotas import SCHEDULES
from schedules.when import When
from webhooks.models import Destination
from workspaces import quotas
from workspaces.models import User, Workspace
from workspaces.quotas import Room


@dataclass(slots=True)
class PreparedSchedule:
    """A schedule that was checked and can be stored: nothing is written yet."""

    schedule: Schedule
    inputs: PreparedInputs
    room: Room
    destination: Destination | None = None

    def store(self) -> Schedule:
        """Store the schedule with its inputs, in one transaction or in the caller's, and return it.

        Raises:
            LimitReached: others that were made at the same moment took the room there was.
        """
        with transaction.atomic():
            quotas.hold(self.room)
            if self.destination:
                self.destination.save()
            self.schedule.destination = self.destination
            self.schedule.input_set = store_inputs(self.inputs, self.schedule.workspace)
            self.schedule.save(force_insert=True)
        return self.schedule


def prepare(action_name: str, asked: AsyncLaunch, when: When, *, workspace: Workspace, user: User) -> PreparedSchedule:
    """Check a schedule of `action_name` on up to 100,000 inputs and return it, ready to be stored.

    Inputs that do not fit the action fail in each of its runs, or with `on_invalid: reject` refuse the schedule.

    Raises:
        NotFound: there is no such action.
        Conflict: the action is switched off, or does not run on schedules.
        BadInput: when it fires is not what it may be (`schedules.when.check`); there are no inputs, too many, or none
            that fits; with `reject`, one does not; or its callback may not be made.
        BadParameters: they are too large, or do not fit.
        LimitReached: the workspace has as many schedules, or as much stored, as it may.
    """
    definition, action = launch_checks.find_open(action_name, "schedule")
    room = quotas.check(SCHEDULES, workspace)
    quotas.check(STORED_BYTES, workspace)
    now = database_time()
    first = whens.check(when, now=now)
    call = check_call(definition, action, asked)
    schedule = Schedule(
        uid=uuid7(),
        workspace=workspace,
        user=user,
        action=action,
        action_name=action.name,
        name=asked.name,
        tags=list(asked.tags),
        parameters=asked.parameters,
        identity_ids=asked.identity_ids,
        identity_mode=asked.identity_mode or "",
        batch_size=call.inputs.batch_size,
        callback_on=asked.callback.on if asked.callback else "",
        callback_per=asked.callback.per if asked.callback else "",
        status=ScheduleStatus.ACTIVE,
        cron=when.cron or "",
        timezone=when.timezone,
        schedule_at=when.schedule_at,
        starts_at=when.starts_at,
        ends_at=when.ends_at,
        overlap=when.overlap,
        catch_up=when.catch_up,
        next_execution_at=first,
        created_at=now,
        updated_at=now,
    )
    destination = call.callback.destination.store(workspace, now=now) if call.callback else None
    return PreparedSchedule(schedule, call.inputs, room, destination)


def check_call(definition: ActionDefinition, action: Action, asked: AsyncLaunch) -> CheckedCall:
    """Check what each run of a schedule begins with, so that none of them is INVALID from the start.

    Raises:
        BadInput: there are no inputs, too many, or none that fits; with `on_invalid: reject`, one does not; or its
            callback may not be made.
        BadParameters: they are too large, or do not fit.
    """
    call = launch.check_async(definition, action, asked)
    if call.parameter_problems:
        raise launch_checks.parameters_refused(call.parameter_problems)
    if call.inputs.invalid_count == call.inputs.input_count:
        raise launch_checks.inputs_refused(call.inputs)
    return call


def store_inputs(prepared: PreparedInputs, workspace: Workspace) -> InputSet:
    """Store inputs that a schedule keeps, in the caller's transaction."""
    input_set = inputs.input_set_of(prepared, workspace)
    input_set.is_kept = True
    input_set.save()
    inputs.store_chunks(prepared.chunks, input_set)
    return input_set
