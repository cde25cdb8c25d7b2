"""What comes in with a schedule, checked for its shape, and what schedules look like outside."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from rest_framework import serializers

from actions.options import HIGHEST
from rest.errors import BadInput
from rest.strict import NoBody, StrictBody, Time
from runs.launch import AsyncLaunch
from runs.representations import CallbackSettings
from runs.serializers import (
    CallbackBody,
    Inputs,
    ManyInputsBody,
    Tag,
    read_fields,
    refuse_mistaken,
    refuse_unknown,
    refuse_unknown_in_callback,
    require_inputs,
    without_nulls,
)
from schedules import representations
from schedules.due_times import PreviewRow
from schedules.editing import Changes
from schedules.models import Fire, Schedule
from schedules.representations import DueTime, MadeSchedule
from schedules.when import RULES, TIMES, When

Cron = Annotated[
    str | None,
    Field(
        description="Five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.",
        examples=["0 9 * * MON-FRI"],
    ),
]
Zone = Annotated[str, Field(description="The name of a time zone.", examples=["Europe/Paris"])]
At = Annotated[Time | None, Field(description="The first time it fires; without `cron` the only one.")]
From = Annotated[Time | None, Field(description="It fires not before this time.")]
Until = Annotated[Time | None, Field(description="It fires not after this time.")]
Overlapping = Annotated[
    Literal["allow", "skip"], Field(description="Whether it fires while its last run is unfinished.")
]
CatchingUp = Annotated[
    Literal["one", "none", "all"],
    Field(description="What becomes of times missed while the system was down: one run for all of them, none, or all."),
]


class ScheduleBody(ManyInputsBody):
    """The body that makes a schedule."""

    cron: Cron = None
    timezone: Zone = "UTC"
    schedule_at: At = None
    starts_at: From = None
    ends_at: Until = None
    overlap: Overlapping = "allow"
    catch_up: CatchingUp = "one"


class ScheduleChangesBody(StrictBody):
    """The body that changes a schedule: each field that is there. Null takes away what a schedule may be without."""

    null_is_absent: ClassVar = False

    name: str = Field(default="", max_length=255)
    cron: Cron = None
    timezone: Zone = "UTC"
    schedule_at: At = None
    starts_at: From = None
    ends_at: Until = None
    inputs: Inputs = []
    parameters: dict[str, Any] = {}
    callback: Annotated[CallbackBody | None, BeforeValidator(without_nulls)] = None
    overlap: Overlapping = "allow"
    catch_up: CatchingUp = "one"
    tags: list[Tag] = Field(default=[], max_length=20)
    batch_size: int | None = Field(default=None, ge=1, le=HIGHEST["batch_size"])
    on_invalid: Literal["skip", "reject"] = "skip"


MISTAKEN = {
    "input": "a schedule takes `inputs`, an array; `input` belongs to live",
    "start_after": "it belongs to async; a schedule takes `schedule_at`, `starts_at`",
    "depends_on": "it belongs to async; the runs of a schedule wait for no others",
}


def read_schedule_body(body: Any) -> tuple[AsyncLaunch, When]:
    """Return what the runs of a schedule are to be launched with, and when.

    Raises:
        BadInput: the body is not an object, or a field is unknown or not what it takes.
        BadParameters: `parameters` is not an object.
    """
    if not isinstance(body, dict):
        raise BadInput("The body is a JSON object with the field `inputs`, and `cron` or `schedule_at`.", {"field": ""})
    refuse_mistaken(body, MISTAKEN)
    require_inputs(body)
    refuse_unknown(body, ScheduleBody, "a schedule", also=MISTAKEN)
    refuse_unknown_in_callback(body)
    read = read_fields(body, ScheduleBody)
    fields = {name: getattr(read, name) for name in ManyInputsBody.model_fields}
    asked = AsyncLaunch(**fields | {"callback": read.callback and read.callback.asked()})
    return asked, When(**{name: getattr(read, name) for name in (*TIMES, *RULES)})


def read_changes_body(body: Any) -> Changes:
    """Return which fields of a schedule are to change, and to what.

    Raises:
        BadInput: the body is not an object, or a field is unknown or not what it takes.
        BadParameters: `parameters` is not an object.
    """
    if not isinstance(body, dict):
        raise BadInput("The body is a JSON object with the fields to change.", {"field": ""})
    refuse_unknown(body, ScheduleChangesBody, "a change of a schedule")
    refuse_unknown_in_callback(body)
    read = read_fields(body, ScheduleChangesBody)
    fields = {name: getattr(read, name) for name in read.model_fields_set}
    if read.callback:
        fields["callback"] = read.callback.asked()
    return Changes(fields)


def refuse_body(body: Any, what: str) -> None:
    """Raise `BadInput` for a body that is neither left out nor `{}`; `what` names what takes none."""
    if not isinstance(body, dict):
        raise BadInput("The body is {}, or left out.", {"field": ""})
    refuse_unknown(body, NoBody, what)


class ScheduleSerializer(serializers.BaseSerializer[Schedule]):
    """The schedule object (contract section 4)."""

    def to_representation(self, schedule: Schedule) -> representations.Schedule:
        return {
            "uid": schedule.uid,
            "name": schedule.name,
            "action_id": schedule.action_id,
            "action_name": schedule.action_name,
            "user_uid": schedule.user.uid,
            "workspace_uid": schedule.workspace.uid,
            "cron": schedule.cron or None,
            "timezone": schedule.timezone,
            "schedule_at": schedule.schedule_at,
            "status": schedule.status,
            "next_execution_at": schedule.next_execution_at,
            "last_execution_at": schedule.last_execution_at,
            "created_at": schedule.created_at,
            "updated_at": schedule.updated_at,
            "last_run_uid": schedule.last_run_uid,
            "input_count": schedule.input_set.input_count,
            "overlap": schedule.overlap,
            "catch_up": schedule.catch_up,
            "starts_at": schedule.starts_at,
            "ends_at": schedule.ends_at,
            "missed_count": schedule.missed_count,
            "last_error": schedule.last_error,
            "invalid_count": schedule.input_set.invalid_count,
            "parameters": schedule.parameters,
            "callback": _callback(schedule),
            "tags": schedule.tags,
        }


def _callback(schedule: Schedule) -> CallbackSettings | None:
    """Return where its runs call back, but for the headers: they may be secrets."""
    if schedule.destination is None:
        return None
    return {"url": schedule.destination.url, "on": schedule.callback_on, "per": schedule.callback_per}


class MadeScheduleSerializer(serializers.BaseSerializer[Schedule]):
    """The answer to the making of a schedule (contract section 1)."""

    def to_representation(self, schedule: Schedule) -> MadeSchedule:
        return {
            "schedule_uid": schedule.uid,
            "cron": schedule.cron or None,
            "timezone": schedule.timezone,
            "next_execution_at": schedule.next_execution_at,
            "created_at": schedule.created_at,
            "name": schedule.name,
            "schedule_at": schedule.schedule_at,
            "status": schedule.status,
            "input_count": schedule.input_set.input_count,
            "invalid_count": schedule.input_set.invalid_count,
        }


class FireSerializer(serializers.BaseSerializer[Fire]):
    """One line of a schedule's timeline."""

    def to_representation(self, fire: Fire) -> representations.Fire:
        return {
            "at": fire.at,
            "kind": fire.kind,
            "due_at": fire.due_at,
            "count": fire.count,
            "run_uid": fire.run_uid,
            "reason": fire.reason,
        }


class PreviewSerializer(serializers.BaseSerializer[PreviewRow]):
    """A due time: the moment, and what the clock of the schedule's zone then shows, with its offset."""

    def to_representation(self, row: PreviewRow) -> DueTime:
        return {"at": row.at, "local": row.local.isoformat()}
