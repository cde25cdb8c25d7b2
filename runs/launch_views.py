"""Launching over REST: parse, call one verb, render (contract section 1)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from actions import catalogue
from rest.body import release_large_body
from rest.connection import has_hung_up
from rest.errors import BadOutput, Conflict, GenericError, LimitReached, NotFound, TimedOut, WorkerLost
from rest.json import RawJSON, dumps
from rest.operations import Operation, links, text, whole_number
from rest.pagination import page_headers
from rest.views import ApiView
from runs import launch, live, live_pages, reading, results
from runs.live_pages import MAX_PAGE_SIZE
from runs.models import Run, RunStatus
from runs.openapi import CALLBACKS, WITH_RUN
from runs.representations import LaunchedRun
from runs.serializers import AsyncBody, LaunchedRunSerializer, LiveBody, live_failure, read_async_body, read_live_body
from workspaces import idempotency
from workspaces.authentication import caller_of
from workspaces.idempotency import FirstAnswer


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
        return idempotency.response_of(first)


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
        if catalogue.definition(run.action_name).output_kind == "single":
            return Response(RawJSON(results.single(run)), headers=headers)
        with reading.whole(run):
            return self._page(run, scope, place, headers)

    def _page(self, run: Run, scope: str, place: results.OutputPlace, headers: Mapping[str, str]) -> Response:
        limit = self.query.integer("page_size", minimum=1, maximum=MAX_PAGE_SIZE) or MAX_PAGE_SIZE
        page = results.page(run, limit=limit, start=place)
        before = results.place_at(run, max(0, page.start - limit)) if page.start else None
        following, preceding = (
            {"cursor": live_pages.cursor_at(scope, run, at)} if at else None for at in (page.next, before)
        )
        total = run.progress.output_count
        links = page_headers(self.request, limit=limit, offset=page.start, total=total, next=following, prev=preceding)
        return Response(RawJSON(results.as_json_array(page.outputs)), headers={**headers, **links})
