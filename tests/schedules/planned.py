"""Schedules in the database, as a launch leaves them there, due when a test says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from actions import catalogue
from runs import inputs
from runs.models import InputSet, Run, RunStatus
from schedules.models import Fire, Schedule
from tests.factories import Member, numbers

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def plan(action_name: str = "double", values: Sequence[Any] | None = None, *, by: Member, **fields: Any) -> Schedule:
    """Store a schedule, due at noon unless `next_execution_at` says otherwise; `batch_size` is 2."""
    definition, action = catalogue.find(action_name)
    batch_size = fields.pop("batch_size", 2)
    prepared = inputs.prepare(numbers(3) if values is None else values, definition, batch_size=batch_size)
    input_set = inputs.input_set_of(prepared, by.workspace)
    input_set.is_kept = True
    input_set.save()
    inputs.store_chunks(prepared.chunks, input_set)
    whole = {
        "action": action,
        "action_name": action.name,
        "cron": "* * * * *",
        "next_execution_at": NOON,
        "created_at": NOON - timedelta(days=1),
        "updated_at": NOON - timedelta(days=1),
        **fields,
    }
    return Schedule.objects.create(
        workspace=by.workspace, user=by.user, input_set=input_set, batch_size=batch_size, **whole
    )


def sharing(first: Schedule, count: int, **fields: Any) -> list[Schedule]:
    """Store more schedules like one, on the same inputs."""
    values = {field.attname: getattr(first, field.attname) for field in Schedule._meta.concrete_fields}
    for name in ("id", "uid"):
        del values[name]
    return Schedule.objects.bulk_create([Schedule(**{**values, **fields}) for _ in range(count)])


def again(schedule: Schedule) -> Schedule:
    """The schedule as it is stored now."""
    return Schedule.objects.get(pk=schedule.pk)


def runs_of(schedule: Schedule) -> list[Run]:
    return list(Run.objects.with_progress().filter(schedule_uid=schedule.uid).order_by("pk"))


def told(schedule: Schedule) -> list[tuple[str, datetime | None, int]]:
    """What became of its due times: kind, due time and how many, in the order it was written."""
    return list(Fire.objects.filter(schedule=schedule).order_by("pk").values_list("kind", "due_at", "count"))


def finish(schedule: Schedule) -> None:
    """Let the runs of a schedule have ended, without executing them."""
    Run.objects.filter(schedule_uid=schedule.uid).exclude(status__in=[RunStatus.INVALID]).update(
        status=RunStatus.SUCCEEDED, finished_at=NOON
    )


def input_sets() -> int:
    return InputSet.objects.count()
