"""Previews over REST: what will fire, told by the function that fires it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actions import ActionDefinition
from rest.json import rfc3339
from schedules.clock import database_time
from schedules.due_times import Timing, due_times
from tests.factories import Api, Member, member
from tests.schedules.planned import NOON, plan

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


def before(api: Api, **query: Any) -> Any:
    return api.get(f"/v1/schedules/preview?{urlencode(query)}")


# --- Before there is a schedule -------------------------------------------------------------------------------


def test_the_night_in_spring_and_the_one_in_autumn(api: Api) -> None:
    answer = before(api, cron="30 2 * * *", timezone="Europe/Berlin", count=2, **{"from": "2026-03-28T12:00:00Z"})
    assert (answer.status_code, answer.json()) == (
        200,
        [
            {"at": "2026-03-29T01:00:00Z", "local": "2026-03-29T03:00:00+02:00"},
            {"at": "2026-03-30T00:30:00Z", "local": "2026-03-30T02:30:00+02:00"},
        ],
    )
    answer = before(api, cron="30 2 * * *", timezone="Europe/Berlin", count=2, **{"from": "2026-10-24T12:00:00Z"})
    assert answer.json() == [
        {"at": "2026-10-25T00:30:00Z", "local": "2026-10-25T02:30:00+02:00"},
        {"at": "2026-10-26T01:30:00Z", "local": "2026-10-26T02:30:00+01:00"},
    ]


def test_what_is_not_said(api: Api) -> None:
    now = database_time()
    shown = before(api, cron="* * * * *").json()
    assert len(shown) == 10
    first = datetime.fromisoformat(shown[0]["at"])
    assert now < first <= database_time() + MINUTE
    assert [datetime.fromisoformat(row["at"]) for row in shown] == [first + n * MINUTE for n in range(10)]
    assert shown[0]["local"] == shown[0]["at"].replace("Z", "+00:00")


def test_after_means_later_than(api: Api) -> None:
    query = {"cron": "0 * * * *", "count": 1}
    assert before(api, **query, **{"from": "2026-01-01T10:00:00Z"}).json()[0]["at"] == "2026-01-01T11:00:00Z"
    assert before(api, **query, **{"from": "2026-01-01T09:59:59.999Z"}).json()[0]["at"] == "2026-01-01T10:00:00Z"
    assert before(api, **query, **{"from": "2026-01-01T12:00:00+02:00"}).json()[0]["at"] == "2026-01-01T11:00:00Z"


NOT_A_PREVIEW = [
    ("", "cron", "is required"),
    ("cron=", "cron", "empty"),
    ("cron=x", "cron", "1 field(s)"),
    ("cron=0+0+30+2+*", "cron", "never comes"),
    ("cron=@daily&cron=@weekly", "cron", "more than once"),
    ("cron=@daily&timezone=europe/berlin", "timezone", "Did you mean Europe/Berlin?"),
    ("cron=@daily&timezone=", "timezone", "empty"),
    ("cron=@daily&timezone=localtime", "timezone", "names no place"),
    ("cron=@daily&count=0", "count", "from 1 to 100"),
    ("cron=@daily&count=101", "count", "from 1 to 100"),
    ("cron=@daily&count=ten", "count", "from 1 to 100"),
    ("cron=@daily&from=now", "from", "RFC 3339"),
    ("cron=@daily&from=2026-01-01", "from", "RFC 3339"),
    ("cron=@daily&from=1999-12-31T23:59:59Z", "from", "from 2000-01-01T00:00:00Z"),
    ("cron=@daily&from=9999-12-31T23:59:59Z", "from", "to 9001-01-01T00:00:00Z"),
    ("cron=@daily&schedule_at=2100-01-01T00:00:00Z", "schedule_at", "not a query parameter"),
    ("cron=%00", "cron", "NUL"),
]


def test_a_query_that_cannot_be(api: Api) -> None:
    for query, parameter, reason in NOT_A_PREVIEW:
        answer = api.get(f"/v1/schedules/preview?{query}")
        assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS"), query
        assert answer.json()["params"]["parameter"] == parameter, query
        assert reason in answer.json()["message"], query


def test_at_the_end_of_the_calendar(api: Api) -> None:
    for zone in ("UTC", "Pacific/Kiritimati", "Etc/GMT+12"):
        for cron in ("* * * * *", "0 0 29 2 *", "0 0 1 1 *"):
            answer = before(api, cron=cron, timezone=zone, count=100, **{"from": "9000-12-01T00:00:00Z"})
            assert answer.status_code == 200
            assert all("9000-12" <= row["at"] <= "9001-01-01T00:00:00Z" for row in answer.json())


def test_a_rare_one_ends_with_the_calendar(api: Api) -> None:
    answer = before(api, cron="0 0 29 2 *", count=100, **{"from": "8980-01-01T00:00:00Z"})
    assert [row["at"][:4] for row in answer.json()] == ["8980", "8984", "8988", "8992", "8996"]


def test_who_may_ask(acme: Member) -> None:
    user, run_only = member("Acme", "u@acme.test", role="USER"), member("Acme", "r@acme.test", scopes=["run"])
    assert [before(Api(key), cron="@daily").status_code for key in (None, user.key, run_only.key)] == [401, 200, 403]


# --- Of a schedule --------------------------------------------------------------------------------------------


def test_of_a_schedule_with_everything(api: Api, acme: Member) -> None:
    schedule = plan(
        by=acme,
        cron="0 */6 * * *",
        timezone="Asia/Kolkata",
        starts_at=NOON - HOUR,
        schedule_at=NOON + timedelta(hours=1, seconds=5),
        ends_at=NOON + timedelta(hours=20, minutes=30),
    )
    answer = api.get(f"/v1/schedules/{schedule.uid}/preview?from=2026-01-01T00:00:00Z")
    assert answer.json() == [
        {"at": "2026-01-15T13:00:05Z", "local": "2026-01-15T18:30:05+05:30"},
        {"at": "2026-01-15T18:30:00Z", "local": "2026-01-16T00:00:00+05:30"},
        {"at": "2026-01-16T00:30:00Z", "local": "2026-01-16T06:00:00+05:30"},
        {"at": "2026-01-16T06:30:00Z", "local": "2026-01-16T12:00:00+05:30"},
    ]
    later = api.get(f"/v1/schedules/{schedule.uid}/preview?from=2026-01-16T00:30:00Z&count=1")
    assert [row["at"] for row in later.json()] == ["2026-01-16T06:30:00Z"]


@pytest.mark.parametrize(("status", "count"), [("ACTIVE", 10), ("PAUSED", 10), ("CANCELLED", 0), ("COMPLETED", 0)])
def test_in_each_state(api: Api, acme: Member, status: str, count: int) -> None:
    schedule = plan(by=acme, status=status)
    assert len(api.get(f"/v1/schedules/{schedule.uid}/preview").json()) == count


def test_of_one_whose_zone_is_gone(api: Api, acme: Member) -> None:
    schedule = plan(by=acme, timezone="Mars/Olympus", status="PAUSED")
    answer = api.get(f"/v1/schedules/{schedule.uid}/preview")
    assert (answer.status_code, answer.json()["params"]) == (409, {"status": "PAUSED", "field": "timezone"})


def test_a_query_that_a_schedules_preview_does_not_take(api: Api, acme: Member) -> None:
    schedule = plan(by=acme)
    assert api.get(f"/v1/schedules/{schedule.uid}/preview?cron=@daily").status_code == 400
    assert api.get(f"/v1/schedules/{schedule.uid}/preview?count=101").status_code == 400


# --- Always ---------------------------------------------------------------------------------------------------

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"]
CRONS = [
    "* * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "0 0 * * *",
    "15,45 1-3 * * *",
    "30 * * * *",
    "0 9 1 * MON",
    "@daily",
]
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(ZONES),
    after=moments,
    count=st.integers(1, 30),
    offsets=st.tuples(*[st.none() | st.integers(-40, 40)] * 3),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_preview_is_what_the_due_times_are(
    api: Api, acme: Member, cron: str, zone: str, after: datetime, count: int, offsets: tuple[int | None, ...]
) -> None:
    schedule_at, starts_at, ends_at = (
        None if days is None else after + timedelta(days=days, seconds=17 * days) for days in offsets
    )
    timing = Timing(cron, zone, schedule_at, starts_at, ends_at)
    schedule = plan(by=acme, cron=cron, timezone=zone, schedule_at=schedule_at, starts_at=starts_at, ends_at=ends_at)
    answer = api.get(f"/v1/schedules/{schedule.uid}/preview?count={count}&from={rfc3339(after)}")
    assert answer.status_code == 200, answer.content
    at = [datetime.fromisoformat(row["at"]) for row in answer.json()]
    local = [datetime.fromisoformat(row["local"]) for row in answer.json()]
    assert at == list(islice(due_times(timing, after), count)) == local
    assert [one.utcoffset() for one in local] == [one.astimezone(ZoneInfo(zone)).utcoffset() for one in at]
    assert all(earlier < later for earlier, later in zip([after, *at], at, strict=False))
    if offsets == (None, None, None):
        bare = before(api, cron=cron, timezone=zone, count=count, **{"from": rfc3339(after)})
        assert bare.json() == answer.json()
