"""`/v1/runs/callbacks` and one of them: what they say, in which order, and to whom."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import Api, Member
from tests.webhooks.callbacks import AT, attempt, callback, destination
from webhooks.models import Callback
from workspaces import keys

pytestmark = pytest.mark.django_db

LIST = "/v1/runs/callbacks"
FIELDS = [
    "uid", "parent_uid", "retry_count", "created_at", "status", "callback_url", "http_status", "http_response",
    "batch_uid", "run_uid", "error", "workspace_uid", "callback_ref_uid", "next_attempt_at", "attempts",
]  # fmt: skip
UID = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"


def uids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [one["uid"] for one in answer.json()]


def test_no_callbacks(api: Api) -> None:
    answer = api.get(LIST)
    assert (answer.status_code, answer.json()) == (200, [])
    assert (answer.headers["X-Pagination-Total"], answer.headers["X-Pagination-Limit"]) == ("0", "10")
    assert "X-Pagination-Next" not in answer.headers


def test_a_callback_as_it_is_shown(api: Api, acme: Member) -> None:
    attempts = [
        attempt(None, error="CONNECT_FAILED: Nobody took the connection."),
        attempt(503, http_response="busy"),
        attempt(410, http_response="gone", error="The receiver answered 410."),
    ]
    made = callback(
        acme,
        to=destination(acme, url="https://hooks.example:8443/in?a=b#c", headers={"Authorization": "secret"}),
        batch_uid=uuid4(),
        parent_uid=uuid4(),
        attempts=attempts,
    )
    (shown,) = api.get(LIST).json()
    assert list(shown) == FIELDS
    assert list(shown["attempts"][0]) == ["at", "http_status", "http_response", "duration_ms", "error"]
    assert api.get(f"{LIST}/{made.uid}").json() == shown
    assert api.get(f"{LIST}/{str(made.uid).upper()}").json() == shown
    created_at = shown.pop("created_at")
    assert created_at.endswith("Z")
    assert datetime.fromisoformat(created_at) == made.created_at
    assert shown == {
        "uid": str(made.uid),
        "parent_uid": str(made.parent_uid),
        "retry_count": 2,
        "status": "FAILED",
        "callback_url": "https://hooks.example:8443/in?a=b#c",
        "http_status": 410,
        "http_response": "gone",
        "batch_uid": str(made.batch_uid),
        "run_uid": str(made.run_uid),
        "error": "The receiver answered 410.",
        "workspace_uid": str(acme.workspace.uid),
        "callback_ref_uid": str(made.ref_uid),
        "next_attempt_at": None,
        "attempts": attempts,
    }


def test_one_that_waits_for_its_first_attempt(api: Api, acme: Member) -> None:
    made = callback(acme, "PENDING")
    shown = api.get(f"{LIST}/{made.uid}").json()
    assert (shown["status"], shown["retry_count"], shown["attempts"]) == ("PENDING", 0, [])
    assert [shown[name] for name in ("http_status", "http_response", "error", "parent_uid", "batch_uid")] == [None] * 5
    assert datetime.fromisoformat(shown["next_attempt_at"]) == made.next_attempt_at


def test_one_that_arrived_at_once(api: Api, acme: Member) -> None:
    made = callback(acme, "SUCCESS", attempts=[attempt(204, http_response="")])
    shown = api.get(f"{LIST}/{made.uid}").json()
    assert (shown["retry_count"], shown["http_status"], shown["http_response"], shown["error"]) == (0, 204, "", None)
    assert shown["attempts"][0]["at"] == AT


@pytest.fixture
def several(acme: Member, other: Member) -> dict[str, Callback]:
    """One of each status, a minute apart, oldest first; `FAILED` and `SUCCESS` are of one run. And another's."""
    start, run_uid, to = timezone.now() - timedelta(hours=1), uuid4(), destination(acme)
    statuses = ["FAILED", "SUCCESS", "RUNNING", "PENDING"]
    callback(other, run_uid=run_uid)
    return {
        status: callback(
            acme,
            status,
            to=to,
            run_uid=run_uid if status in ("FAILED", "SUCCESS") else None,
            created_at=start + timedelta(minutes=minute),
        )
        for minute, status in enumerate(statuses)
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["PENDING", "RUNNING", "SUCCESS", "FAILED"]),
        ("status=FAILED", ["FAILED"]),
        ("status=PENDING,RUNNING", ["PENDING", "RUNNING"]),
        ("status=SUCCESS&status=FAILED", ["SUCCESS", "FAILED"]),
        ("run_uid={FAILED.run_uid}", ["SUCCESS", "FAILED"]),
        ("run_uid={FAILED.run_uid}&status=FAILED,PENDING", ["FAILED"]),
        ("run_uid={FAILED.run_uid},{PENDING.run_uid}", ["PENDING", "SUCCESS", "FAILED"]),
        (f"run_uid={UID}", []),
        ("sort=created_at", ["FAILED", "SUCCESS", "RUNNING", "PENDING"]),
        ("sort=-created_at&limit=1", ["PENDING"]),
        ("limit=2&offset=1", ["RUNNING", "SUCCESS"]),
        ("offset=4", []),
    ],
)
def test_filters_sorts_and_pages(api: Api, several: dict[str, Callback], query: str, found: list[str]) -> None:
    names = {str(one.uid): name for name, one in several.items()}
    assert [names[uid] for uid in uids(api.get(f"{LIST}?{query.format(**several)}"))] == found


@pytest.mark.parametrize("sort", ["", "&sort=created_at"])
def test_pages_never_overlap_where_many_are_made_at_once(api: Api, acme: Member, sort: str) -> None:
    moment, to = timezone.now(), destination(acme)
    made = [str(callback(acme, to=to, created_at=moment).uid) for _ in range(7)]
    found = [one["uid"] for one in api.walk(f"{LIST}?limit=2{sort}")]
    assert found == (made if sort else made[::-1])
    first = api.get(f"{LIST}?limit=2{sort}")
    assert first.headers["X-Pagination-Total"] == "7"
    assert "cursor=" in first.headers["X-Pagination-Next"]
    by_offset = api.get(f"{LIST}?limit=2&offset=2{sort}")
    assert uids(by_offset) == found[2:4]
    assert "offset=4" in by_offset.headers["X-Pagination-Next"]
    assert "offset=0" in by_offset.headers["X-Pagination-Prev"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("status=DONE", "status"),
        ("status=failed", "status"),
        ("status=", "status"),
        ("run_uid=x", "run_uid"),
        ("run_uid=%00", "run_uid"),
        ("run=1", "run"),
        ("uid=1", "uid"),
        ("sort=status", "sort"),
        ("sort=destination__headers", "sort"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("offset=-1", "offset"),
        ("cursor=x", "cursor"),
    ],
)
def test_a_query_that_cannot_be(api: Api, query: str, parameter: str) -> None:
    answer = api.get(f"{LIST}?{query}")
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS")
    assert answer.json()["params"]["parameter"] == parameter


def test_an_unknown_and_anothers_are_not_there(api: Api, other: Member) -> None:
    for uid in (UID, callback(other).uid):
        answer = api.get(f"{LIST}/{uid}")
        assert (answer.status_code, answer.json()["error_label"]) == (404, "NOT_FOUND")
        assert answer.json()["params"] == {"callback_uid": str(uid)}
    assert api.get(f"{LIST}/x").status_code == 404


def test_reading_is_for_whoever_may_read(acme: Member) -> None:
    made = callback(acme)
    _, of_a_user = keys.make_key(acme.membership, role="USER", scopes=["read"])
    _, unable = keys.make_key(acme.membership, scopes=["run", "manage"])
    for path in (LIST, f"{LIST}/{made.uid}"):
        assert Api(of_a_user).get(path).status_code == 200
        assert Api(unable).get(path).status_code == 403
        assert Api(None).get(path).status_code == 401
        assert api_methods(Api(of_a_user), path) == [405, 405, 405]


def api_methods(api: Api, path: str) -> list[int]:
    return [getattr(api.client, method)(path).status_code for method in ("put", "patch", "delete")]


def test_queries_do_not_grow_with_the_page_and_read_neither_bodies_nor_headers(api: Api, acme: Member) -> None:
    for number in range(20):
        callback(acme, to=destination(acme, url=f"https://{number}.example/", headers={"A": "b"}))
    with CaptureQueriesContext(connection) as queries:
        assert len(uids(api.get(f"{LIST}?limit=100"))) == 20
    count, page = [query["sql"] for query in queries if "webhooks_" in query["sql"]]
    assert "COUNT" in count
    assert '"webhooks_destination"."url"' in page
    assert "webhooks_bodypack" not in page
    assert '"headers"' not in page


def plan(query: str, *values: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {query}", values)
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "callback_newest"),
        ({"status__in": ["FAILED"]}, "callback_failed"),
        ({"status__in": ["PENDING", "RUNNING"]}, "callback_undelivered"),
        ({"status__in": ["PENDING"]}, "callback_undelivered"),
        ({"run_uid__in": [UUID(UID)]}, "callback_by_run"),
        ({"run_uid__in": [UUID(UID)], "status__in": ["SUCCESS"]}, "callback_by_run"),
    ],
)
def test_filters_have_an_index(acme: Member, filters: dict[str, Any], index: str) -> None:
    rows = Callback.objects.of(acme.workspace).filter(**filters).order_by("-created_at", "-id").values("pk")[:11]
    with connection.cursor() as cursor:
        # The tables are empty, where reading all costs least.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
    sql, values = rows.query.sql_with_params()
    assert index in plan(sql, *values)
