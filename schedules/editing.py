"""Changing a schedule: all of what is asked for, checked together, or nothing.

A tick that claims the schedule at the same moment comes before or after, never in between: both lock its row. Runs that
are there stay as they were launched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction

from actions import ActionDefinition
from actions.models import Action
from rest.errors import BadInput, Conflict, NotFound
from runs import deletion, launch_checks
from runs.callback_requests import AskedCallback
from runs.inputs import PreparedInputs
from runs.launch import AsyncLaunch
from runs.quotas import STORED_BYTES
from schedules import pending, planning
from schedules import when as whens
from schedules.clock import database_time
from schedules.due_times import Timing, next_due
from schedules.lifecycle import hold, refuse_ended
from schedules.models import Schedule, ScheduleStatus
from webhooks.models import Destination
from workspaces import quotas

RHYTHM = frozenset({"cron", "timezone", "schedule_at"})
WITH_INPUTS = frozenset({"batch_size", "on_invalid"})
"""Fields that say how new inputs are taken, and mean nothing without them."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The fields that are to change, by name, their shape checked (`schedules.serializers`). None takes one away."""

    fields: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.fields


def edit(schedule: Schedule, changes: Changes, *, now: datetime | None = None) -> Schedule:
    """Change a schedule and return it. What is the same as before changes nothing.

    A new time is counted from now on. What is due already and still a due time is fired all the same; what was due by
    the times before is counted as missed.

    Raises:
        BadInput, BadParameters: as for a new one (`schedules.planning.prepare`), of all fields together.
        Conflict: it is cancelled or completed, or its action is switched off or gone.
        LimitReached: the workspace has as much stored as it may.
        NotFound: it was deleted.
    """
    refuse_ended(schedule)
    inputs = _check_call(schedule, changes)
    destination = _check_callback(schedule, changes)
    with transaction.atomic():
        held, now = hold(schedule), now or database_time()
        refuse_ended(held)
        values = _plain_values(held, changes) | _new_times(held, changes, now)
        if inputs:
            values["input_set"] = planning.store_inputs(inputs, held.workspace)
            values["batch_size"] = inputs.batch_size
        if "callback" in changes:
            values |= _new_callback(held, changes, destination)
        if values:
            Schedule.objects.filter(pk=held.pk).update(**values, updated_at=now)
        if inputs:
            deletion.let_go_of_inputs(held.input_set_id)
        if "destination" in values and held.destination:
            held.destination.delete()
        return Schedule.objects.as_shown().get(pk=held.pk)


def _check_call(schedule: Schedule, changes: Changes) -> PreparedInputs | None:
    """Check what concerns the action, and return new inputs, packed. Nothing is locked meanwhile: it may take long."""
    for name in sorted(WITH_INPUTS):
        if name in changes and "inputs" not in changes:
            raise BadInput(f"{name}: it says how new inputs are taken: send inputs too.", {"field": name})
    if "inputs" not in changes and "parameters" not in changes:
        return None
    definition, action = _find_open(schedule)
    parameters = changes.fields.get("parameters", schedule.parameters)
    if "inputs" not in changes:
        _check_parameters(definition, parameters)
        return None
    quotas.check(STORED_BYTES, schedule.workspace)
    given = {name: changes.fields[name] for name in ("inputs", *WITH_INPUTS) if name in changes}
    return planning.check_call(definition, action, AsyncLaunch(parameters=parameters, **given)).inputs


def _check_callback(schedule: Schedule, changes: Changes) -> Destination | None:
    """Return where the runs are to call back from now on, not yet stored. A name may have to be looked up."""
    asked: AskedCallback | None = changes.fields.get("callback")
    return asked.check().destination.store(schedule.workspace, now=database_time()) if asked else None


def _new_callback(held: Schedule, changes: Changes, destination: Destination | None) -> dict[str, Any]:
    """Store where the runs call back, and return the fields that say so: nothing where there was none and is none."""
    asked: AskedCallback | None = changes.fields["callback"]
    if destination is None or asked is None:
        return {"destination": None, "callback_on": "", "callback_per": ""} if held.destination else {}
    destination.save()
    return {"destination": destination, "callback_on": asked.on, "callback_per": asked.per}


def _find_open(schedule: Schedule) -> tuple[ActionDefinition, Action]:
    try:
        return launch_checks.find_open(schedule.action_name, "schedule")
    except NotFound:
        raise Conflict(
            f"The action '{schedule.action_name}' is gone: nothing can be checked against it.",
            {"action_name": schedule.action_name},
        ) from None


def _check_parameters(definition: ActionDefinition, parameters: Mapping[str, Any]) -> None:
    launch_checks.check_parameters_size(parameters)
    problems = launch_checks.parameter_problems(definition, parameters)
    if problems:
        raise launch_checks.parameters_refused(problems)


def _plain_values(held: Schedule, changes: Changes) -> dict[str, Any]:
    """Return the changed ones of the fields that depend on no other."""
    asked = {name: changes.fields[name] for name in ("name", "tags") if name in changes}
    values = {name: value for name, value in asked.items() if getattr(held, name) != value}
    if "parameters" in changes:  # not compared: to Python 1 is as good as true
        values["parameters"] = changes.fields["parameters"]
    return values


def _new_times(held: Schedule, changes: Changes, now: datetime) -> dict[str, Any]:
    """Return the changed ones of the fields that say when, with the next due time that follows from them."""
    before = whens.of(held)
    asked = {name: changes.fields[name] for name in (*whens.TIMES, *whens.RULES) if name in changes}
    changed = {name: value for name, value in asked.items() if getattr(before, name) != value}
    wanted = replace(before, **changed)
    whens.check_rules(wanted)
    if changed.keys().isdisjoint(whens.TIMES):
        return changed
    first = whens.check(wanted, now=now, changed=changed)
    values = {**changed, "cron": wanted.cron or ""}
    if held.status == ScheduleStatus.ACTIVE:
        values["next_execution_at"] = _next_time(held, wanted.timing, first, changed, now)
    return values


def _next_time(held: Schedule, wanted: Timing, first: datetime, changed: Collection[str], now: datetime) -> datetime:
    """Return the due time to come: `first`, unless one has come already that is none of these changes' business."""
    due = held.next_execution_at
    if due is None or not pending.is_pending(held, now):
        return first
    if RHYTHM.isdisjoint(changed) and next_due(wanted, due - pending.INSTANT) == due:
        return due
    pending.give_up(held, now=now, reason="the schedule was changed before it was fired")
    return first
