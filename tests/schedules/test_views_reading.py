"""Reading schedules over REST: the list, one, and its timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import ActionDefinition
from schedules.models import Fire, FireKind, Schedule
from tests.factories import Api, Member, member
from tests.schedules.planned import NOON, plan
from workspaces.models import ApiKey

pytestmark = pytest.mark.django_db

SCHEDULE_FIELDS = [
    "uid", "name", "action_id", "action_name", "user_uid", "workspace_uid", "cron", "timezone", "schedule_at",
    "status", "next_execution_at", "last_execution_at", "created_at", "updated_at", "last_run_uid", "input_count",
    "overlap", "catch_up", "starts_at", "ends_at", "missed_count", "last_error", "invalid_count", "parameters",
    "callback", "tags",
]  # fmt: skip
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition, count_up: ActionDefinition) -> None:
    """`double` and `count-up` can be called."""


def test_no_schedules(api: Api) -> None:
    answer = api.get("/v1/schedules")
    assert (answer.status_code, answer.json()) == (200, [])
    assert (answer.headers["X-Pagination-Total"], answer.headers["X-Pagination-Limit"]) == ("0", "10")


def test_a_schedule_as_it_is_shown(api: Api, acme: Member) -> None:
    values = [{"n": 1}, {"n": "x"}, {"n": 3}]
    schedule = plan(
        values=values, by=acme, name="weekly", tags=["a"], timezone="Europe/Berlin", ends_at=NOON + 9 * MINUTE
    )
    (shown,) = api.get("/v1/schedules").json()
    assert list(shown) == SCHEDULE_FIELDS
    assert api.get(f"/v1/schedules/{schedule.uid}").json() == shown
    assert api.get(f"/v1/schedules/{str(schedule.uid).upper()}").json() == shown
    assert shown == {
        "uid": str(schedule.uid),
        "name": "weekly",
        "action_id": schedule.action_id,
        "action_name": "double",
        "user_uid": str(acme.user.uid),
        "workspace_uid": str(acme.workspace.uid),
        "cron": "* * * * *",
        "timezone": "Europe/Berlin",
        "schedule_at": None,
        "status": "ACTIVE",
        "next_execution_at": "2026-01-15T12:00:00Z",
        "last_execution_at": None,
        "created_at": "2026-01-14T12:00:00Z",
        "updated_at": "2026-01-14T12:00:00Z",
        "last_run_uid": None,
        "input_count": 3,
        "overlap": "allow",
        "catch_up": "one",
        "starts_at": None,
        "ends_at": "2026-01-15T12:09:00Z",
        "missed_count": 0,
        "last_error": None,
        "invalid_count": 1,
        "parameters": {},
        "callback": None,
        "tags": ["a"],
    }


@pytest.fixture
def several(acme: Member) -> dict[str, Schedule]:
    """Four schedules: `due`, `paused`, `over` and `once`, made a minute apart, oldest first."""
    colleague = member("Acme", "bob@acme.test")
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def made(number: int, **fields: Any) -> Schedule:
        return plan(created_at=start + number * MINUTE, **fields)

    return {
        "due": made(0, by=acme, name="b", updated_at=NOON, last_execution_at=NOON - MINUTE),
        "paused": made(1, action_name="count-up", by=colleague, status="PAUSED", next_execution_at=None),
        "over": made(2, by=acme, status="COMPLETED", next_execution_at=None, last_execution_at=NOON, name="a"),
        "once": made(3, action_name="count-up", by=acme, cron="", schedule_at=NOON + MINUTE,
                     next_execution_at=NOON + MINUTE, name="c"),
    }  # fmt: skip


LISTS = [
    ("", ["once", "over", "paused", "due"]),
    ("status=ACTIVE", ["once", "due"]),
    ("status=PAUSED,COMPLETED", ["over", "paused"]),
    ("status=PAUSED&status=ACTIVE", ["once", "paused", "due"]),
    ("status=CANCELLED", []),
    ("action_name=double", ["over", "due"]),
    ("action_name=double,count-up", ["once", "over", "paused", "due"]),
    ("action_name=nothing", []),
    ("uid={due.uid}", ["due"]),
    ("uid={due.uid},{once.uid}", ["once", "due"]),
    ("uid={due.user.uid}", []),
    ("user_uid={due.user.uid}", ["once", "over", "due"]),
    ("user_uid={paused.user.uid}", ["paused"]),
    ("sort=created_at", ["due", "paused", "over", "once"]),
    ("sort=-created_at", ["once", "over", "paused", "due"]),
    ("sort=-updated_at&limit=1", ["due"]),
    ("sort=next_execution_at", ["due", "once", "paused", "over"]),
    ("sort=-next_execution_at", ["over", "paused", "once", "due"]),
    ("sort=last_execution_at&limit=2", ["due", "over"]),
    ("sort=-last_execution_at", ["once", "paused", "over", "due"]),
    ("sort=name", ["paused", "over", "due", "once"]),
    ("sort=status,-name", ["once", "due", "over", "paused"]),
    ("sort=action_name,created_at", ["paused", "once", "due", "over"]),
    ("limit=2&offset=1", ["over", "paused"]),
    ("status=ACTIVE&action_name=double", ["due"]),
]


def test_filters_sorts_and_pages(api: Api, several: dict[str, Schedule]) -> None:
    name_of = {str(schedule.uid): name for name, schedule in several.items()}
    for query, names in LISTS:
        answer = api.get(f"/v1/schedules?{query.format(**several)}")
        assert answer.status_code == 200, answer.content
        assert [name_of[one["uid"]] for one in answer.json()] == names, query


def test_pages_never_overlap(api: Api, several: dict[str, Schedule]) -> None:
    for sort in ("next_execution_at", "-last_execution_at", "status,-name"):
        whole = [one["uid"] for one in api.get(f"/v1/schedules?sort={sort}").json()]
        assert [one["uid"] for one in api.walk(f"/v1/schedules?sort={sort}&limit=1")] == whole
        assert len(set(whole)) == 4


NOT_A_LIST = [
    ("status=active", "status"),
    ("status=RUNNING", "status"),
    ("status=", "status"),
    ("uid=5", "uid"),
    ("user_uid=x", "user_uid"),
    ("action_name=%00", "action_name"),
    ("sort=timezone", "sort"),
    ("sort=uid", "sort"),
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("offset=-1", "offset"),
    ("cursor=x", "cursor"),
    ("workspace_uid=x", "workspace_uid"),
    ("tag=a", "tag"),
]


def test_a_query_that_cannot_be(api: Api) -> None:
    for query, parameter in NOT_A_LIST:
        answer = api.get(f"/v1/schedules?{query}")
        assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS"), query
        assert answer.json()["params"]["parameter"] == parameter, query


def test_the_list_costs_the_same_for_three_and_for_thirty(api: Api, acme: Member) -> None:
    ApiKey.objects.update(last_used_at=timezone.now() + MINUTE)  # a minute may end in between

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get("/v1/schedules?limit=100").status_code == 200
        return len(captured)

    for _ in range(3):
        plan(by=acme)
    few = queries()
    for _ in range(27):
        plan(by=acme)
    assert queries() == few == 3


def test_the_list_reads_no_secret(api: Api, acme: Member) -> None:
    plan(by=acme)
    with CaptureQueriesContext(connection) as captured:
        api.get("/v1/schedules")
    (read,) = [query["sql"] for query in captured if '"schedules_schedule"."cron"' in query["sql"]]
    assert '"webhooks_destination"."url"' in read
    assert '"webhooks_destination"."headers"' not in read


def test_only_its_own_workspace_sees_it(acme: Member, other: Member) -> None:
    schedule = plan(by=acme)
    theirs = Api(other.key)
    assert theirs.get("/v1/schedules").json() == []
    assert theirs.get(f"/v1/schedules?uid={schedule.uid}").json() == []
    for path in ("", "/preview", "/timeline"):
        answer = theirs.get(f"/v1/schedules/{schedule.uid}{path}")
        assert (answer.status_code, answer.json()["error_label"]) == (404, "NOT_FOUND")
        assert answer.json()["message"] == "There is no such schedule."


def test_who_may_read(acme: Member) -> None:
    schedule = plan(by=acme)
    user, run_only = member("Acme", "u@acme.test", role="USER"), member("Acme", "r@acme.test", scopes=["run"])
    for path in ("", f"/{schedule.uid}", f"/{schedule.uid}/preview", f"/{schedule.uid}/timeline"):
        keys = (None, user.key, run_only.key)
        assert [Api(key).get(f"/v1/schedules{path}").status_code for key in keys] == [401, 200, 403]


def test_what_is_no_uid(api: Api) -> None:
    for uid in ("x", "5", "0192f0c1", "previews"):
        assert api.get(f"/v1/schedules/{uid}").status_code == 404


# --- What became of its due times -----------------------------------------------------------------------------


def test_the_timeline_newest_first(api: Api, acme: Member) -> None:
    schedule, another = plan(by=acme), plan(by=acme)
    uid = schedule.uid

    def fire(kind: FireKind, minute: int, **fields: Any) -> None:
        due = NOON + minute * MINUTE
        Fire.objects.create(schedule=schedule, kind=kind, due_at=due, at=due + timedelta(seconds=1), **fields)

    fire(FireKind.FIRED, 0, run_uid=uid)
    fire(FireKind.MISSED, 5, count=5, reason="catch_up is none")
    fire(FireKind.SKIPPED, 6, reason="the last run is unfinished; overlap is skip")
    Fire.objects.create(schedule=another, kind=FireKind.TRIGGERED, at=NOON)
    shown = api.get(f"/v1/schedules/{uid}/timeline")
    assert shown.headers["X-Pagination-Total"] == "3"
    assert shown.json()[1:] == [
        {
            "at": "2026-01-15T12:05:01Z",
            "kind": "MISSED",
            "due_at": "2026-01-15T12:05:00Z",
            "count": 5,
            "run_uid": None,
            "reason": "catch_up is none",
        },
        {
            "at": "2026-01-15T12:00:01Z",
            "kind": "FIRED",
            "due_at": "2026-01-15T12:00:00Z",
            "count": 1,
            "run_uid": str(uid),
            "reason": "",
        },
    ]
    assert [one["kind"] for one in api.walk(f"/v1/schedules/{uid}/timeline?limit=1")] == ["SKIPPED", "MISSED", "FIRED"]
    assert [one["due_at"] for one in api.get(f"/v1/schedules/{another.uid}/timeline").json()] == [None]
    assert api.get(f"/v1/schedules/{uid}/timeline?sort=at").status_code == 400
