"""Views: JSON for everyone, strict queries, and a list with its filters, sort and pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.test import RequestFactory
from rest_framework.request import Request
from rest_framework.response import Response

from rest.filters import After, AnyChoice, AnyTag, AnyText, AnyUuid, Before, FilterSet
from rest.json import RawJSON
from rest.json_media import JSONRenderer
from rest.operations import text
from rest.views import ApiView, ListView

START = datetime(2025, 1, 1, tzinfo=UTC)


class Thing(models.Model):
    """What the list under test lists."""

    uid = models.UUIDField()
    status = models.TextField()
    tags = ArrayField(models.TextField())
    created_at = models.DateTimeField()

    class Meta:
        app_label = "rest_tests"


class ThingFilters(FilterSet):
    uid = AnyUuid("uid")
    status = AnyChoice("status", ["NEW", "OLD"])
    name = AnyText("status", max_length=5)
    tag = AnyTag("tags")
    created_after = After("created_at")
    created_before = Before("created_at")


class Open:
    authentication_classes: ClassVar[list[Any]] = []
    permission_classes: ClassVar[list[Any]] = []
    throttle_classes: ClassVar[list[Any]] = []


class Things(Open, ListView):
    filters = ThingFilters
    sort_fields: ClassVar[dict[str, str]] = {"created_at": "created_at", "status": "status"}
    query_parameters: ClassVar = {"extra": text()}

    def get_queryset(self) -> Any:
        return Thing.objects.all()

    def represent(self, rows: list[Any]) -> list[Any]:
        return [row.id for row in rows]


class Lines(JSONRenderer):
    media_type = "application/x-ndjson"
    format = "ndjson"

    def render(self, data: Any, *_: Any) -> bytes:
        return b"lines"


class Plain(Open, ApiView):
    def get(self, request: Request) -> Response:
        return Response(RawJSON(b'{"raw":true}'))


class Formats(Plain):
    renderer_classes = [JSONRenderer, Lines]


def get(view: type[ApiView], query: str = "", **headers: str) -> Response:
    request = RequestFactory(headers={"host": "testserver"}).get("/v1/things", QUERY_STRING=query, headers=headers)
    response = view.as_view()(request)
    assert isinstance(response, Response)
    response.render()
    return response


@pytest.fixture
def things(db: None) -> None:
    """Twelve things, one a day, every third one OLD, with tags t0 to t3."""
    with connection.schema_editor() as editor:
        editor.create_model(Thing)
    Thing.objects.bulk_create(
        Thing(
            id=n,
            uid=UUID(int=n),
            status="OLD" if n % 3 == 0 else "NEW",
            tags=[f"t{n % 4}", "all"],
            created_at=START + timedelta(days=n),
        )
        for n in range(12)
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]),
        ("limit=2&sort=created_at", [0, 1]),
        ("sort=-status,created_at&limit=6", [0, 3, 6, 9, 1, 2]),
        ("status=OLD", [9, 6, 3, 0]),
        ("status=OLD&status=NEW&limit=3", [11, 10, 9]),
        ("status=OLD,NEW&limit=3&offset=9", [2, 1, 0]),
        ("name=OLD&extra=1", [9, 6, 3, 0]),
        ("tag=t1,t2&limit=3", [10, 9, 6]),
        (f"uid={UUID(int=3)},{UUID(int=99)}", [3]),
        ("created_after=2025-01-10T00:00:00Z", [11, 10]),
        ("created_before=2025-01-03T00:00:00%2B00:00", [1, 0]),
        ("created_after=2025-01-02T00:00:00Z&created_before=2025-01-06T00:00:00Z&status=OLD", [3]),
    ],
)
def test_a_list_answers_what_is_asked(things: None, query: str, expected: list[int]) -> None:
    response = get(Things, query)
    assert (response.status_code, response.data) == (200, expected)


@pytest.mark.parametrize(
    ("query", "parameter", "allowed"),
    [
        ("status=old", "status", ["NEW", "OLD"]),
        ("status=NEW,", "status", "non-empty values"),
        ("uid=1", "uid", "uuid"),
        ("name=toolong", "name", {"min_length": 1, "max_length": 5}),
        ("created_after=yesterday", "created_after", "date-time"),
        ("created_after=2025-01-02T00:00:00Z&created_after=2025-01-02T00:00:00Z", "created_after", {"max_items": 1}),
        ("limit=1000", "limit", {"minimum": 1, "maximum": 100}),
        ("sort=uid", "sort", ["created_at", "status"]),
        (
            "page=1",
            "page",
            [
                "created_after",
                "created_before",
                "cursor",
                "extra",
                "limit",
                "name",
                "offset",
                "sort",
                "status",
                "tag",
                "uid",
            ],
        ),
        ("tag=%00", "tag", "text without NUL characters"),
    ],
)
def test_a_list_refuses_by_name(things: None, query: str, parameter: str, allowed: Any) -> None:
    response = get(Things, query)
    assert response.status_code == 400
    assert response.data["error_label"] == "BAD_PARAMETERS"
    assert response.data["params"] == {"parameter": parameter, "allowed": allowed}
    assert parameter in response.data["message"]


def test_a_lists_pages_tile_it_while_it_grows(things: None) -> None:
    seen: list[int] = []
    query = "limit=5&status=NEW,OLD"
    for number in range(3):
        response = get(Things, query)
        seen += response.data
        Thing.objects.create(
            id=100 + number, uid=UUID(int=1), status="NEW", tags=[], created_at=START.replace(year=2030)
        )
        query = response.headers.get("X-Pagination-Next", "?").split("?", 1)[1]
    assert seen == list(range(11, -1, -1))
    assert query == ""


def test_a_view_takes_no_parameter_it_does_not_name() -> None:
    response = get(Plain, "format=json")
    assert response.data["params"] == {"parameter": "format", "allowed": []}


@pytest.mark.parametrize("accept", ["text/html", "*/*", "", "application/xml", "nonsense", "text/csv;q=0.5"])
def test_json_whatever_is_accepted(accept: str) -> None:
    response = get(Plain, accept=accept)
    assert (response.content, response["Content-Type"]) == (b'{"raw":true}', "application/json")


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", "*/*", "application/json"),
        ("", "text/html", "application/json"),
        ("", "application/x-ndjson", "application/x-ndjson"),
        ("", "application/x-ndjson, application/json;q=0.1", "application/x-ndjson"),
        ("format=ndjson", "application/json", "application/x-ndjson"),
        ("format=json", "application/x-ndjson", "application/json"),
    ],
)
def test_a_view_that_offers_formats(query: str, accept: str, expected: str) -> None:
    assert get(Formats, query, accept=accept)["Content-Type"] == expected


def test_an_unknown_format_is_told_those_offered() -> None:
    response = get(Formats, "format=xml")
    assert response.data["params"] == {"parameter": "format", "allowed": ["json", "ndjson"]}
    assert response["Content-Type"] == "application/json"
