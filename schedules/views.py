"""Schedules over REST: parse, call one verb, render (contract sections 1 and 4)."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from rest.errors import BadParameters, Conflict, LimitReached, NotFound
from rest.json import dumps
from rest.operations import Operation, links
from rest.strict import NoBody
from rest.views import ApiView, ListView
from runs.launch_views import launched
from runs.openapi import CALLBACKS, WITH_RUN
from runs.representations import LaunchedRun
from schedules import deletion, editing, firing, lifecycle, planning, previews, representations
from schedules.clock import database_time
from schedules.filters import ScheduleFilters
from schedules.models import Fire, Schedule
from schedules.representations import DueTime, MadeSchedule
from schedules.serializers import (
    FireSerializer,
    MadeScheduleSerializer,
    PreviewSerializer,
    ScheduleBody,
    ScheduleChangesBody,
    ScheduleSerializer,
    read_changes_body,
    read_schedule_body,
    refuse_body,
)
from workspaces import idempotency
from workspaces.authentication import caller_of
from workspaces.idempotency import FirstAnswer

WITH_SCHEDULE = (
    "get_schedule",
    "update_schedule",
    "preview_schedule",
    "list_schedule_fires",
    "pause_schedule",
    "resume_schedule",
    "trigger_schedule",
    "cancel_schedule",
    "delete_schedule",
)
"""The operations on a schedule, by their ids."""


def find_schedule(request: Request, schedule_uid: UUID) -> Schedule:
    """Return the caller's schedule, with all that is shown of it.

    Raises:
        NotFound: the workspace has no such schedule.
    """
    schedules = Schedule.objects.of(caller_of(request).workspace).as_shown()
    schedule = schedules.filter(uid=schedule_uid).first()
    if schedule is None:
        raise NotFound("There is no such schedule.", {"schedule_uid": str(schedule_uid)})
    return schedule


class ScheduleLaunchView(ApiView):
    """`POST /v1/actions/{action_name}/run/schedule`, and its short path."""

    operations: ClassVar = {
        "POST": Operation(
            id="schedule_action",
            summary="Run an action on a schedule",
            description="The short path of `run_<action>_schedule`.",
            status=201,
            takes=ScheduleBody,
            needs_body=True,
            answers=MadeSchedule,
            errors=[BadParameters, Conflict, LimitReached],
            headers=["Location"],
            is_idempotent=True,
            links=links("schedule_uid", "$response.body#/schedule_uid", *WITH_SCHEDULE),
            callbacks=CALLBACKS,
        )
    }

    def post(self, request: Request, action_name: str) -> Response:
        asked, when = read_schedule_body(request.data)
        claim = idempotency.read_claim(request, f"{action_name}/schedule", now=timezone.now())
        first = idempotency.find(claim) if claim else None
        if first is None:
            caller = caller_of(request)
            prepared = planning.prepare(action_name, asked, when, workspace=caller.workspace, user=caller.user)
            first = idempotency.once(claim, lambda: _made(prepared.store()))
        return idempotency.response_of(first)


def _made(schedule: Schedule) -> FirstAnswer:
    body = dumps(MadeScheduleSerializer(schedule).data)
    return FirstAnswer(schedule.uid, 201, {"Location": f"/v1/schedules/{schedule.uid}"}, body)


class ScheduleList(ListView):
    """`GET /v1/schedules`"""

    operations: ClassVar = {
        "GET": Operation(
            id="list_schedules",
            summary="List schedules",
            answers=list[representations.Schedule],
            is_paged=True,
            links=links("schedule_uid", "$response.body#/0/uid", *WITH_SCHEDULE),
        )
    }
    serializer_class = ScheduleSerializer
    filters = ScheduleFilters
    sort_fields: ClassVar = {
        name: name
        for name in (
            "created_at",
            "updated_at",
            "next_execution_at",
            "last_execution_at",
            "name",
            "status",
            "action_name",
        )
    }

    def get_queryset(self) -> QuerySet[Schedule]:
        return Schedule.objects.of(caller_of(self.request).workspace).as_shown()


class ScheduleDetail(ApiView):
    """`GET`, `PATCH` and `DELETE /v1/schedules/{schedule_uid}`"""

    operations: ClassVar = {
        "GET": Operation(id="get_schedule", summary="Get a schedule", answers=representations.Schedule),
        "PATCH": Operation(
            id="update_schedule",
            summary="Change a schedule",
            description="The fields that are sent change; null takes away what a schedule may be without.",
            takes=ScheduleChangesBody,
            answers=representations.Schedule,
            errors=[Conflict],
        ),
        "DELETE": Operation(
            id="delete_schedule", summary="Delete a schedule", description="Its runs stay.", status=204
        ),
    }

    def get(self, request: Request, schedule_uid: UUID) -> Response:
        return Response(ScheduleSerializer(find_schedule(request, schedule_uid)).data)

    def patch(self, request: Request, schedule_uid: UUID) -> Response:
        schedule = find_schedule(request, schedule_uid)
        changes = read_changes_body(request.data)
        return Response(ScheduleSerializer(editing.edit(schedule, changes)).data)

    def delete(self, request: Request, schedule_uid: UUID) -> Response:
        deletion.delete(find_schedule(request, schedule_uid))
        return Response(status=204)


class SchedulePause(ApiView):
    """`POST /v1/schedules/{schedule_uid}/pause`"""

    operations: ClassVar = {
        "POST": Operation(
            id="pause_schedule",
            summary="Pause a schedule",
            description="What is due meanwhile is not caught up.",
            answers=representations.Schedule,
            errors=[Conflict],
        )
    }

    def post(self, request: Request, schedule_uid: UUID) -> Response:
        return Response(ScheduleSerializer(lifecycle.pause(find_schedule(request, schedule_uid))).data)


class ScheduleResume(ApiView):
    """`POST /v1/schedules/{schedule_uid}/resume`"""

    operations: ClassVar = {
        "POST": Operation(
            id="resume_schedule",
            summary="Resume a schedule",
            answers=representations.Schedule,
            errors=[Conflict],
        )
    }

    def post(self, request: Request, schedule_uid: UUID) -> Response:
        return Response(ScheduleSerializer(lifecycle.resume(find_schedule(request, schedule_uid))).data)


class ScheduleCancel(ApiView):
    """`POST /v1/schedules/{schedule_uid}/cancel`"""

    operations: ClassVar = {
        "POST": Operation(
            id="cancel_schedule",
            summary="Cancel a schedule",
            description="For good: it fires nothing any more. Its runs go on.",
            answers=representations.Schedule,
            errors=[Conflict],
        )
    }

    def post(self, request: Request, schedule_uid: UUID) -> Response:
        return Response(ScheduleSerializer(lifecycle.cancel(find_schedule(request, schedule_uid))).data)


class ScheduleTrigger(ApiView):
    """`POST /v1/schedules/{schedule_uid}/trigger`: answered as an async launch is."""

    operations: ClassVar = {
        "POST": Operation(
            id="trigger_schedule",
            summary="Run a schedule now",
            description="Besides its due times.",
            status=202,
            takes=NoBody,
            answers=LaunchedRun,
            errors=[LimitReached],
            headers=["Location"],
            is_idempotent=True,
            links=links("run_uid", "$response.body#/run_uid", *WITH_RUN),
        )
    }

    def post(self, request: Request, schedule_uid: UUID) -> Response:
        refuse_body(request.data, "a trigger")
        claim = idempotency.read_claim(request, f"schedules/{schedule_uid}/trigger", now=timezone.now())
        first = idempotency.find(claim) if claim else None
        if first is None:
            schedule, by = find_schedule(request, schedule_uid), caller_of(request).user
            first = idempotency.once(claim, lambda: launched(firing.trigger(schedule, by=by, now=database_time())))
        return idempotency.response_of(first)


class ScheduleTimeline(ListView):
    """`GET /v1/schedules/{schedule_uid}/timeline`"""

    operations: ClassVar = {
        "GET": Operation(
            id="list_schedule_fires",
            summary="List what became of due times",
            answers=list[representations.Fire],
            is_paged=True,
        )
    }
    serializer_class = FireSerializer
    default_sort = ("-id",)

    def get_queryset(self) -> QuerySet[Fire]:
        return Fire.objects.filter(schedule=find_schedule(self.request, self.kwargs["schedule_uid"]))


class SchedulePreview(ApiView):
    """`GET /v1/schedules/{schedule_uid}/preview`"""

    query_parameters = previews.PARAMETERS
    operations: ClassVar = {
        "GET": Operation(
            id="preview_schedule",
            summary="Tell when a schedule will fire",
            answers=list[DueTime],
            errors=[Conflict],
        )
    }

    def get(self, request: Request, schedule_uid: UUID) -> Response:
        stretch = previews.read_stretch(self.query)
        schedule = find_schedule(request, schedule_uid)
        return _preview(previews.of_schedule(schedule, stretch))


class PreviewBefore(ApiView):
    """`GET /v1/schedules/preview`: of a cron expression, before there is a schedule."""

    query_parameters = previews.PARAMETERS | previews.TIMING_PARAMETERS
    operations: ClassVar = {
        "GET": Operation(
            id="preview_cron",
            summary="Tell when a cron expression would fire",
            answers=list[DueTime],
        )
    }

    def get(self, request: Request) -> Response:
        timing = previews.read_timing(self.query)
        return _preview(previews.of_timing(timing, previews.read_stretch(self.query)))


def _preview(rows: list[Any]) -> Response:
    return Response([PreviewSerializer(row).data for row in rows])
