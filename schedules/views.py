"""Schedules over REST: parse, call one verb, render (contract sections 1 and 4)."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from rest.errors import NotFound
from rest.json import RawJSON, dumps
from rest.views import ApiView, ListView
from runs.views import launched
from schedules import deletion, editing, firing, lifecycle, planning, previews
from schedules.clock import database_time
from schedules.filters import ScheduleFilters
from schedules.models import Fire, Schedule
from schedules.serializers import (
    FireSerializer,
    MadeScheduleSerializer,
    PreviewSerializer,
    ScheduleSerializer,
    read_changes_body,
    read_schedule_body,
    refuse_body,
)
from workspaces import idempotency
from workspaces.authentication import caller_of
from workspaces.idempotency import FirstAnswer


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

    def post(self, request: Request, action_name: str) -> Response:
        asked, when = read_schedule_body(request.data)
        claim = idempotency.read_claim(request, f"{action_name}/schedule", now=timezone.now())
        first = idempotency.find(claim) if claim else None
        if first is None:
            caller = caller_of(request)
            prepared = planning.prepare(action_name, asked, when, workspace=caller.workspace, user=caller.user)
            first = idempotency.once(claim, lambda: _made(prepared.store()))
        return _answer(first)


def _made(schedule: Schedule) -> FirstAnswer:
    body = dumps(MadeScheduleSerializer(schedule).data)
    return FirstAnswer(schedule.uid, 201, {"Location": f"/v1/schedules/{schedule.uid}"}, body)


def _answer(first: FirstAnswer) -> Response:
    headers = {**first.headers, **idempotency.replay_headers(first.is_replay)}
    return Response(RawJSON(first.body), status=first.status_code, headers=headers)


class ScheduleList(ListView):
    """`GET /v1/schedules`"""

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

    def post(self, request: Request, schedule_uid: UUID) -> Response:
        return Response(ScheduleSerializer(lifecycle.pause(find_schedule(request, schedule_uid))).data)


class ScheduleResume(ApiView):
    """`POST /v1/schedules/{schedule_uid}/resume`"""

    def post(self, request: Request, schedule_uid: UUID) -> Response:
        return Response(ScheduleSerializer(lifecycle.resume(find_schedule(request, schedule_uid))).data)


class ScheduleCancel(ApiView):
    """`POST /v1/schedules/{schedule_uid}/cancel`"""

    def post(self, request: Request, schedule_uid: UUID) -> Response:
        return Response(ScheduleSerializer(lifecycle.cancel(find_schedule(request, schedule_uid))).data)


class ScheduleTrigger(ApiView):
    """`POST /v1/schedules/{schedule_uid}/trigger`: answered as an async launch is."""

    def post(self, request: Request, schedule_uid: UUID) -> Response:
        refuse_body(request.data, "a trigger")
        claim = idempotency.read_claim(request, f"schedules/{schedule_uid}/trigger", now=timezone.now())
        first = idempotency.find(claim) if claim else None
        if first is None:
            schedule, by = find_schedule(request, schedule_uid), caller_of(request).user
            first = idempotency.once(claim, lambda: launched(firing.trigger(schedule, by=by, now=database_time())))
        return _answer(first)


class ScheduleTimeline(ListView):
    """`GET /v1/schedules/{schedule_uid}/timeline`"""

    serializer_class = FireSerializer
    default_sort = ("-id",)

    def get_queryset(self) -> QuerySet[Fire]:
        return Fire.objects.filter(schedule=find_schedule(self.request, self.kwargs["schedule_uid"]))


class SchedulePreview(ApiView):
    """`GET /v1/schedules/{schedule_uid}/preview`"""

    query_parameters = previews.PARAMETERS

    def get(self, request: Request, schedule_uid: UUID) -> Response:
        stretch = previews.read_stretch(self.query)
        schedule = find_schedule(request, schedule_uid)
        return _preview(previews.of_schedule(schedule, stretch))


class PreviewBefore(ApiView):
    """`GET /v1/schedules/preview`: of a cron expression, before there is a schedule."""

    query_parameters = previews.PARAMETERS | {"cron", "timezone"}

    def get(self, request: Request) -> Response:
        timing = previews.read_timing(self.query)
        return _preview(previews.of_timing(timing, previews.read_stretch(self.query)))


def _preview(rows: list[Any]) -> Response:
    return Response([PreviewSerializer(row).data for row in rows])
