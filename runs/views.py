"""Runs over REST: parse, call one verb, render (contract sections 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from actions import catalogue
from rest.body import release_large_body
from rest.connection import has_hung_up
from rest.cursor import read_cursor, write_cursor
from rest.errors import BadOutput, Conflict, GenericError, LimitReached, NotFound, TimedOut, WorkerLost
from rest.json import JSONRenderer, RawJSON, dumps
from rest.operations import Operation, Parameter, links, text, whole_number
from rest.pagination import MAX_OFFSET, PageRequest, page_headers, page_parameters, read_page
from rest.views import ApiView, ListView
from runs import (
    cancellation,
    deletion,
    downloads,
    input_list,
    launch,
    live,
    live_pages,
    reading,
    representations,
    results,
    resumption,
)
from runs.filters import RunFilters
from runs.input_list import InputFilter
from runs.input_states import STATUSES
from runs.lifecycle import By
from runs.live_pages import MAX_PAGE_SIZE
from runs.models import CREATION, Actor, Run, RunQuerySet, RunStatus, RunTransition
from runs.openapi import CALLBACKS, WITH_RUN
from runs.representations import LaunchedRun, RunInput, RunProgress
from runs.serializers import (
    AsyncBody,
    LaunchedRunSerializer,
    LiveBody,
    ResumeBody,
    RunSerializer,
    RunStatusSerializer,
    TransitionSerializer,
    live_failure,
    read_async_body,
    read_live_body,
    read_resume_body,
)
from workspaces import idempotency
from workspaces.authentication import caller_of
from workspaces.idempotency import FirstAnswer

FORCE = ["true", "false"]
Page = input_list.InputPage | results.OutputPage


def find_run(request: Request, run_uid: UUID) -> Run:
    """Return the caller's run, with its progress.

    Raises:
        NotFound: the workspace has no such run.
    """
    return _find(Run.objects.with_progress(), request, run_uid)


def _find(runs: RunQuerySet, request: Request, run_uid: UUID) -> Run:
    run = runs.of(caller_of(request).workspace).filter(uid=run_uid).first()
    if run is None:
        raise NotFound("There is no such run.", {"run_uid": str(run_uid)})
    return run


class AsyncLaunchView(ApiView):
    """`POST /v1/actions/{action_name}/run/async`, and its short path."""

    operations: ClassVar = {
        "POST": Operation(
            id="launch_action",
            summary="Run an action on many inputs",
            description="The short path of `run_<action>_async`.",
            status=202,
            takes=AsyncBody,
            needs_body=True,
            answers=LaunchedRun,
            errors=[Conflict, LimitReached],
            headers=["Location"],
            is_idempotent=True,
            links=links("run_uid", "$response.body#/run_uid", *WITH_RUN),
            callbacks=CALLBACKS,
        )
    }

    def post(self, request: Request, action_name: str) -> Response:
        now = timezone.now()
        asked = read_async_body(request.data, now=now)
        claim = idempotency.read_claim(request, f"{action_name}/async", now=now)
        first = idempotency.find(claim) if claim else None
        if first is None:
            caller = caller_of(request)
            prepared = launch.prepare_async(action_name, asked, workspace=caller.workspace, user=caller.user, now=now)
            first = idempotency.once(claim, lambda: launched(prepared.store()))
            if not first.is_replay:
                prepared.ring()
        headers = {**first.headers, **idempotency.replay_headers(first.is_replay)}
        return Response(RawJSON(first.body), status=first.status_code, headers=headers)


def launched(run: Run) -> FirstAnswer:
    """Return the answer to whoever launched a run on many inputs."""
    body = dumps(LaunchedRunSerializer(run).data)
    return FirstAnswer(run.uid, 202, {"Location": f"/v1/runs/{run.uid}"}, body)


class LiveView(ApiView):
    """`POST /v1/actions/{action_name}/run/live`, and its short path."""

    query_parameters: ClassVar = {
        "page_size": whole_number("How many outputs at once.", minimum=1, maximum=MAX_PAGE_SIZE, default=MAX_PAGE_SIZE),
        "cursor": text("A page of an earlier call's outputs, from its `X-Pagination-Next`, with the same body."),
    }
    operations: ClassVar = {
        "POST": Operation(
            id="call_action",
            summary="Call an action",
            description="The short path of `run_<action>_live`. The answer is the output itself, or a page of them.",
            takes=LiveBody,
            answers=Any,
            errors=[NotFound, Conflict, LimitReached, GenericError, WorkerLost, BadOutput, TimedOut],
            headers=["X-Run-Uid"],
            may_be_paged=True,
            is_idempotent=True,
            links=links("run_uid", "$response.header.X-Run-Uid", "get_run", "list_run_outputs"),
        )
    }

    def post(self, request: Request, action_name: str) -> Response:
        now = timezone.now()
        caller = caller_of(request)
        self.query.integer("page_size", minimum=1, maximum=MAX_PAGE_SIZE)
        cursor = self.query.scalar("cursor")
        asked = read_live_body(request.data)
        scope = live_pages.scope_of(action_name, asked)
        if cursor is not None:
            run, place = live_pages.find_page(scope, cursor, workspace=caller.workspace, now=now)
            return self._answer(run, scope, place)
        claim = idempotency.read_claim(request, f"{action_name}/live", now=now)
        release_large_body(request._request)  # others have its place while this caller waits
        ended = live.call(
            action_name,
            asked,
            workspace=caller.workspace,
            user=caller.user,
            now=now,
            claim=claim,
            has_hung_up=lambda: has_hung_up(request._request),
        )
        return self._answer(ended.run, scope, results.OutputPlace(), idempotency.replay_headers(ended.is_replay))

    def _answer(
        self, run: Run, scope: str, place: results.OutputPlace, headers: Mapping[str, str] = MappingProxyType({})
    ) -> Response:
        headers = {"X-Run-Uid": str(run.uid), **headers}
        if run.status != RunStatus.SUCCEEDED:
            error = live_failure(run)
            return Response(error, status=error["status_code"], headers=headers)
        with reading.whole(run):
            return self._outputs(run, scope, place, headers)

    def _outputs(self, run: Run, scope: str, place: results.OutputPlace, headers: Mapping[str, str]) -> Response:
        if catalogue.definition(run.action_name).output_kind == "single":
            return Response(RawJSON(results.single(run)), headers=headers)
        limit = self.query.integer("page_size", minimum=1, maximum=MAX_PAGE_SIZE) or MAX_PAGE_SIZE
        page = results.page(run, limit=limit, start=place)
        before = results.place_at(run, max(0, page.start - limit)) if page.start else None
        following, preceding = (
            {"cursor": live_pages.cursor_at(scope, run, at)} if at else None for at in (page.next, before)
        )
        total = run.progress.output_count
        links = page_headers(self.request, limit=limit, offset=page.start, total=total, next=following, prev=preceding)
        return Response(RawJSON(results.as_json_array(page.outputs)), headers={**headers, **links})


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
        return Response(RunStatusSerializer(_find(Run.objects.for_status(), request, run_uid)).data)


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
        self.run = find_run(request, self.kwargs["run_uid"])
        with reading.whole(self.run):
            return super().get(request, *args, **kwargs)


class RunInputs(ApiView):
    """`GET /v1/runs/{run_uid}/inputs`"""

    query_parameters: ClassVar = {
        **page_parameters(),
        "status": Parameter({"type": "string", "enum": list(STATUSES)}, several=True),
        "error_label": Parameter({"type": "string"}, "Failed inputs with one of these labels.", several=True),
    }
    operations: ClassVar = {
        "GET": Operation(id="list_run_inputs", summary="List a run's inputs", answers=list[RunInput], is_paged=True)
    }

    def get(self, request: Request, run_uid: UUID) -> Response:
        run = find_run(request, run_uid)
        wanted = InputFilter(
            statuses=self.query.choices("status", STATUSES),
            error_labels=self.query.values("error_label"),
        )
        asked = read_page(self.query)
        scope = f"inputs:{run.uid}:{sorted(wanted.statuses)}:{sorted(wanted.error_labels)}"
        start = input_list.InputPlace(*read_cursor(scope, asked.cursor)) if asked.cursor is not None else None
        with reading.whole(run):
            page = input_list.page(run, limit=asked.limit, wanted=wanted, start=start, offset=asked.offset or 0)
        headers = _headers(request, asked, page, page.total, scope=scope)
        return Response(page.inputs, headers=headers)


class NDJSONRenderer(JSONRenderer):
    media_type = "application/x-ndjson"
    format = "ndjson"


class CSVRenderer(JSONRenderer):
    media_type = "text/csv"
    format = "csv"


class RunOutputs(ApiView):
    """`GET /v1/runs/{run_uid}/outputs`: a page as JSON, or all of them as NDJSON or CSV."""

    query_parameters: ClassVar = page_parameters(100, 500)
    operations: ClassVar = {
        "GET": Operation(
            id="list_run_outputs",
            summary="List a run's outputs",
            description="In the order of the inputs: a page as JSON, or all of them as NDJSON or CSV.",
            answers=list[Any],
            may_be_paged=True,
        )
    }
    renderer_classes = [JSONRenderer, NDJSONRenderer, CSVRenderer]

    def get(self, request: Request, run_uid: UUID) -> HttpResponseBase:
        run = find_run(request, run_uid)
        asked = read_page(self.query, default=100, maximum=500)
        if request.accepted_renderer.format != "json":
            # If the run is deleted meanwhile the connection breaks off: what was sent is not all.
            form = request.accepted_renderer.format
            return downloads.attachment(downloads.outputs(run, form), str(run.uid), form)
        scope = f"outputs:{run.uid}"
        start = results.OutputPlace(*read_cursor(scope, asked.cursor)) if asked.cursor is not None else None
        total = run.progress.output_count
        with reading.whole(run):
            page = results.page(run, limit=asked.limit, start=start, offset=asked.offset or 0)
            headers = _headers(request, asked, page, total, scope=scope, place_at=lambda at: results.place_at(run, at))
        return Response(RawJSON(results.as_json_array(page.outputs)), headers=headers)

    def handle_exception(self, exc: Exception) -> Response:
        # Errors are JSON, whatever the answer would have been.
        self.request.accepted_renderer, self.request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
        return super().handle_exception(exc)


def _headers(
    request: Request,
    asked: PageRequest,
    page: Page,
    total: int,
    *,
    scope: str,
    place_at: Callable[[int], Any] | None = None,
) -> dict[str, str]:
    """Return a page's headers: forward by cursor, or by offset where the caller counts so; back by offset.

    A page may be shorter than was asked for, so the next one begins where this one ended. `place_at` finds the place
    of an offset that is beyond those a caller may send, for a list that gets so long.
    """
    following = preceding = None
    if page.next:
        by_offset = asked.offset is not None and page.next.offset <= MAX_OFFSET
        following = (
            {"offset": page.next.offset, "limit": asked.limit} if by_offset else _to(write_cursor(scope, page.next))
        )
    if page.start:
        before = max(0, page.start - asked.limit)
        if before <= MAX_OFFSET:
            preceding = {"cursor": None, "offset": before, "limit": asked.limit}
        elif place_at:
            preceding = _to(write_cursor(scope, place_at(before)))
    return page_headers(request, limit=asked.limit, offset=page.start, total=total, next=following, prev=preceding)


def _to(cursor: str) -> dict[str, Any]:
    return {"offset": None, "cursor": cursor}
