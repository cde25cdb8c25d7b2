from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actions import ActionDefinition
from schedules.models import Fire, FireKind, Schedule
from tests.factories import Member
from tests.schedules.planned import NOON, plan
from tests.staff import EVIL, assert_harmless, page, rows, staff, superuser, text

pytestmark = pytest.mark.django_db

LIST = "/admin/schedules/schedule/"


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


def path_of(schedule: Schedule) -> str:
    return f"{LIST}{schedule.pk}/change/"


def query_count(client: Any, path: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


class TestList:
    def test_shows_when_and_whose(self, root: Any, acme: Member) -> None:
        plan(by=acme, name="weekly", cron="0 8 * * MON", timezone="Europe/Paris", missed_count=7)
        plan(by=acme, cron="", schedule_at=NOON)
        once, weekly = rows(page(root, LIST))
        for shown in ("double", "ACTIVE", "0 8 * * MON", "Europe/Paris", "2026-01-15 12:00", "7", "weekly", "Acme"):
            assert shown in weekly
        assert "once" in once

    def test_costs_the_same_for_three_rows_and_for_thirty(self, root: Any, acme: Member) -> None:
        for _ in range(3):
            plan(by=acme)
        few = query_count(root, LIST)
        for _ in range(27):
            plan(by=acme)
        assert len(rows(page(root, LIST))) == 30
        assert query_count(root, LIST) == few <= 7

    def test_finds_by_uid_and_by_name(self, root: Any, acme: Member) -> None:
        first, second = plan(by=acme, name="first"), plan(by=acme, name="second")
        for found in (str(first.uid), first.uid.hex.upper(), "FIRS"):
            (row,) = rows(page(root, LIST, q=found))
            assert "first" in row
        assert rows(page(root, LIST, q=str(uuid.uuid4()))) == []
        (row,) = rows(page(root, LIST, q="second", status__exact="ACTIVE", action="double"))
        assert "second" in row
        assert rows(page(root, LIST, status__exact="PAUSED")) == []
        assert second.status == "ACTIVE"


class TestSchedule:
    def test_says_what_is_due_and_what_became_of_it(self, root: Any, acme: Member) -> None:
        schedule = plan(by=acme, cron="30 2 * * *", timezone="Europe/Berlin", tags=["a", "b"])
        run = uuid.uuid4()
        Fire.objects.create(schedule=schedule, kind=FireKind.FIRED, due_at=NOON, at=NOON, run_uid=run)
        late = NOON + timedelta(days=3)
        Fire.objects.create(
            schedule=schedule, kind=FireKind.MISSED, due_at=late, at=late, count=3, reason="catch_up is none"
        )
        html = page(root, path_of(schedule))
        shown = text(html)
        parts = ("At 02:30", "In Europe/Berlin", "T02:30:00+0", "overlap allow, catch_up one", "MISSED", "FIRED")
        for part in (*parts, "catch_up is none", "a, b"):
            assert part in shown
        assert html.css_first(f'a[href="/admin/runs/run/?q={run}"]') is not None

    @pytest.mark.parametrize(
        ("fields", "shown"),
        [
            ({"status": "COMPLETED", "next_execution_at": None}, "Never."),
            ({"status": "PAUSED", "next_execution_at": None}, "were it resumed"),
            ({"timezone": "Nowhere/Gone", "last_error": {"label": "BAD_INPUT", "message": "gone"}}, "gone"),
            ({"cron": "not a cron"}, "needs five"),
        ],
    )
    def test_in_any_state(self, root: Any, acme: Member, fields: dict[str, Any], shown: str) -> None:
        assert shown in text(page(root, path_of(plan(by=acme, **fields))))

    def test_runs_none_of_what_is_stored(self, root: Any, acme: Member) -> None:
        schedule = plan(
            by=acme, name=EVIL, tags=[EVIL[:64]], parameters={EVIL: EVIL}, last_error={EVIL: EVIL}, cron=EVIL
        )
        Fire.objects.create(schedule=schedule, kind=FireKind.SKIPPED, due_at=NOON, at=NOON, reason=EVIL)
        for path in (LIST, path_of(schedule)):
            html = page(root, path)
            assert_harmless(html)
            assert "alert('x')" in text(html)

    def test_no_form_changes_it(self, root: Any, acme: Member) -> None:
        schedule = plan(by=acme)
        assert root.post(path_of(schedule), {"name": "x"}).status_code == 403
        assert root.post(f"{LIST}{schedule.pk}/delete/", {"post": "yes"}).status_code == 403
        assert root.get(f"{LIST}add/").status_code == 403


def test_staff_see_those_of_their_workspaces(acme: Member, other: Member) -> None:
    own, theirs = plan(by=acme, name="own"), plan(by=other, name="theirs")
    ada = staff(acme.user, "schedules.view_schedule")
    assert ["own" in row for row in rows(page(ada, LIST))] == [True]
    assert ada.get(path_of(own)).status_code == 200
    assert ada.get(path_of(theirs)).status_code == 302
    assert staff(other.user).get(LIST).status_code == 403
