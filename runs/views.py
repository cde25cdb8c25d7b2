"""Runs over REST: parse, call one verb, render (contract section 2)."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from rest.errors import Conflict, LimitReached, NotFound
from rest.operations import Operation, links, text
from rest.views import ApiView, ListView
from runs import cancellation, deletion, reading, representations, resumption
from runs.filters import RunFilters
from runs.lifecycle import By
from runs.models import CREATION, Actor, Run, RunQuerySet, RunTransition
from runs.openapi import WITH_RUN
from runs.representations import RunProgress
from runs.serializers import ResumeBody, RunSerializer, RunStatusSerializer, TransitionSerializer, read_resume_body
from statements.compiled import Compiled, Parameter
from workspaces.authentication import caller_of

FORCE = ["true", "false"]


def find_run(request: Request, run_uid: UUID) -> Run:
    """Return the caller's run, with its progress.

    Raises:
        NotFound: the workspace has no such run.
    """
    return _find(_WHOLE, request, run_uid)


def find_for_contents(request: Request, run_uid: UUID) -> Run:
    """Return the caller's run as `RunQuerySet.for_contents` reads it, or raise `NotFound`."""
    return _find(_FOR_CONTENTS, request, run_uid)


def _of_workspace(runs: RunQuerySet) -> RunQuerySet:
    return runs.filter(workspace=Parameter("workspace"), uid=Parameter("uid"))


_WHOLE = Compiled(lambda: _of_workspace(Run.objects.with_progress()))
_FOR_CONTENTS = Compiled(lambda: _of_workspace(Run.objects.for_contents()))
_STATUS = Compiled(lambda: _of_workspace(Run.objects.for_status()))


def _find(runs: Compiled[Run], request: Request, run_uid: UUID) -> Run:
    run = runs.first(workspace=caller_of(request).workspace.pk, uid=run_uid)
    if run is None:
        raise NotFound("There is no such run.", {"run_uid": str(run_uid)})
    return run


class RunList(ListView):
    """`GET /v1/runs`"""

    operations: ClassVar = {
        "GET": Operation(
            id="list_runs",
            summary="List runs",
            answers=list[representations.Run],
            is_paged=True,
            links=links("run_uid", "$response.body#/0/uid", *WITH_RUN),
        )
    }
    serializer_class = RunSerializer
    filters = RunFilters
    sort_fields: ClassVar = {
        name: name for name in ("created_at", "updated_at", "started_at", "finished_at", "status", "action_name")
    }
    tie_break = CREATION

    def get_queryset(self) -> QuerySet[Run]:
        return Run.objects.of(caller_of(self.request).workspace).with_progress()


class RunDetail(ApiView):
    """`GET /v1/runs/{run_uid}`, `DELETE /v1/runs/{run_uid}`"""

    query_parameters: ClassVar = {"force": text("`true`: undelivered callbacks do not hold it up.", enum=FORCE)}
    operations: ClassVar = {
        "GET": Operation(id="get_run", summary="Get a run", answers=representations.Run),
        "DELETE": Operation(
            id="delete_run",
            summary="Delete a run",
            description="One that has ended or is stopped, with all it holds.",
            status=204,
            errors=[Conflict],
        ),
    }

    def known_parameters(self) -> frozenset[str]:
        """Return `force` for DELETE."""
        return super().known_parameters() if self.request.method == "DELETE" else frozenset()

    def get(self, request: Request, run_uid: UUID) -> Response:
        return Response(RunSerializer(find_run(request, run_uid)).data)

    def delete(self, request: Request, run_uid: UUID) -> Response:
        force = self.query.choice("force", FORCE) == "true"
        deletion.delete(find_run(request, run_uid), force=force)
        return Response(status=204)


class RunCancel(ApiView):
    """`POST /v1/runs/{run_uid}/cancel`"""

    operations: ClassVar = {
        "POST": Operation(
            id="cancel_run",
            summary="Cancel a run",
            description="From this answer on no count changes, and no result is recorded.",
            answers=representations.Run,
            errors=[Conflict],
        )
    }

    def post(self, request: Request, run_uid: UUID) -> Response:
        run = cancellation.cancel(find_run(request, run_uid), by=_member(request), now=timezone.now())
        return Response(RunSerializer(run).data)


class RunResume(ApiView):
    """`POST /v1/runs/{run_uid}/resume`"""

    operations: ClassVar = {
        "POST": Operation(
            id="resume_run",
            summary="Resume a run",
            description="A stopped run goes on; of one that has ended the failed inputs run again.",
            takes=ResumeBody,
            answers=representations.Run,
            errors=[Conflict, LimitReached],
        )
    }

    def post(self, request: Request, run_uid: UUID) -> Response:
        run = find_run(request, run_uid)
        wanted = read_resume_body(request.data)
        run = resumption.resume(run, by=_member(request), now=timezone.now(), wanted=wanted)
        return Response(RunSerializer(run).data)


def _member(request: Request) -> By:
    return By(Actor.MEMBER, caller_of(request).user.uid)


class RunStatusDetail(ApiView):
    """`GET /v1/runs/{run_uid}/status`"""

    operations: ClassVar = {
        "GET": Operation(id="get_run_status", summary="Get a run's status and counts", answers=RunProgress)
    }

    def get(self, request: Request, run_uid: UUID) -> Response:
        return Response(RunStatusSerializer(_find(_STATUS, request, run_uid)).data)


class RunTimeline(ListView):
    """`GET /v1/runs/{run_uid}/timeline`"""

    operations: ClassVar = {
        "GET": Operation(
            id="list_run_timeline",
            summary="List a run's changes of status",
            answers=list[representations.RunTransition],
            is_paged=True,
        )
    }
    serializer_class = TransitionSerializer
    default_sort = ("id",)
    default_limit = 100

    def get_queryset(self) -> QuerySet[RunTransition]:
        return RunTransition.objects.filter(run=self.run)

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.run = find_for_contents(request, self.kwargs["run_uid"])
        with reading.whole(self.run):
            return super().get(request, *args, **kwargs)
