"""What schedules look like outside (contract section 4), type by type."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rest.errors import StoredError
from rest.one_of import OneOf
from runs.representations import CallbackSettings, Count
from schedules.models import CatchUp, FireKind, Overlap, ScheduleStatus

Cron = Annotated[str | None, Field(description="Five fields, or `@daily` and its like; null for a one-shot.")]
Zone = Annotated[str, Field(description="The name of a time zone, such as `Europe/Paris`.")]


class Schedule(TypedDict):
    """A schedule."""

    uid: UUID
    name: str
    action_id: int
    action_name: str
    user_uid: UUID
    workspace_uid: UUID
    cron: Cron
    timezone: Zone
    schedule_at: datetime | None
    status: Annotated[str, OneOf(ScheduleStatus)]
    next_execution_at: datetime | None
    last_execution_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_run_uid: UUID | None
    input_count: Count
    overlap: Annotated[str, OneOf(Overlap)]
    catch_up: Annotated[str, OneOf(CatchUp)]
    starts_at: datetime | None
    ends_at: datetime | None
    missed_count: Count
    last_error: StoredError | None
    invalid_count: Count
    parameters: dict[str, Any]
    callback: CallbackSettings | None
    tags: list[str]


class MadeSchedule(TypedDict):
    """A schedule that was just made."""

    schedule_uid: UUID
    cron: Cron
    timezone: Zone
    next_execution_at: datetime | None
    created_at: datetime
    name: str
    schedule_at: datetime | None
    status: Annotated[str, OneOf(ScheduleStatus)]
    input_count: Count
    invalid_count: Count


class Fire(TypedDict):
    """One line of a schedule's timeline: what became of a due time, or of several in a row that were missed."""

    at: datetime
    kind: Annotated[str, OneOf(FireKind)]
    due_at: datetime | None
    count: Count
    run_uid: UUID | None
    reason: str


class DueTime(TypedDict):
    """When a schedule will fire."""

    at: datetime
    local: Annotated[
        str,
        Field(
            description="What the clock of the zone then shows, with its offset.",
            json_schema_extra={"format": "date-time"},
        ),
    ]
