"""What a run holds over REST, its inputs and its outputs, page by page or all at once (contract section 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from rest.cursor import read_cursor, write_cursor
from rest.json import RawJSON
from rest.json_media import JSONRenderer
from rest.operations import Operation, Parameter
from rest.pagination import MAX_OFFSET, PageRequest, page_headers, page_parameters, read_page
from rest.views import ApiView
from runs import downloads, input_list, reading, results
from runs.input_list import InputFilter
from runs.input_states import STATUSES
from runs.representations import RunInput
from runs.views import find_for_contents

Page = input_list.InputPage | results.OutputPage


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
        run = find_for_contents(request, run_uid)
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
        run = find_for_contents(request, run_uid)
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
