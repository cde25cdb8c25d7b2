from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import ActionDefinition
from schedules import admin_pages
from schedules.models import Fire, FireKind, Schedule
from tests.factories import Member
from tests.schedules.planned import MINUTE, NOON, plan
from tests.staff import EVIL, assert_harmless, page, rows, staff, superuser, text

pytestmark = pytest.mark.django_db

LIST = "/admin/schedules/schedule/"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


def path_of(schedule: Schedule) -> str:
    return f"{LIST}{schedule.pk}/change/"


def fire(schedule: Schedule, due_at: datetime, *, late_s: float = 0.2, **fields: Any) -> Fire:
    """Store what became of a due time: it fired, unless `kind` says otherwise."""
    at = due_at + timedelta(seconds=late_s)
    return Fire.objects.create(schedule=schedule, due_at=due_at, at=at, **{"kind": FireKind.FIRED, **fields})


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
        assert "Once" in once

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

    def test_says_it_in_words(self, root: Any, acme: Member) -> None:
        plan(by=acme, cron="0 8 * * MON", timezone="Europe/Paris")
        plan(by=acme, cron="", schedule_at=NOON, timezone="Asia/Tokyo")
        plan(by=acme, cron="0 8 * * MON", schedule_at=NOON)
        both, once, weekly = rows(page(root, LIST))
        assert "At 08:00 on Monday" in weekly
        assert "Once, on Thu 15 Jan 2026, 21:00" in once
        assert "On Thu 15 Jan 2026, 12:00, then at 08:00 on Monday" in both

    def test_says_how_the_last_fire_went_and_what_is_overdue(self, root: Any, acme: Member) -> None:
        late, missed, idle = (plan(by=acme, next_execution_at=timezone.now() + HOUR) for _ in range(3))
        plan(by=acme, next_execution_at=timezone.now() - 2 * HOUR)
        fire(late, NOON - HOUR, late_s=1)
        fire(late, NOON, late_s=125)
        fire(missed, NOON, kind=FireKind.MISSED, late_s=90)
        overdue, idle_row, missed_row, late_row = rows(page(root, LIST))
        assert "+2 min" in late_row
        assert "late" in late_row
        assert "missed" in missed_row
        assert not any(word in idle_row for word in ("late", "missed", "on time", "overdue"))
        assert "overdue by 2 h" in overdue
        assert "overdue" not in late_row
        assert idle.pk


class TestSchedule:
    def test_says_what_is_due_on_three_clocks(self, root: Any, acme: Member) -> None:
        with time_machine.travel(datetime(2026, 10, 20, 12, tzinfo=UTC), tick=False):
            found = admin_pages.next_due(plan(by=acme, cron="30 2 * * *", timezone="Europe/Berlin"), timezone.now())
        first, last = found[0], found[-1]
        assert len(found) == 10
        assert (first.local, first.utc) == ("Wed 21 Oct 2026, 02:30 +02:00", "Wed 21 Oct 2026, 00:30")
        assert (last.local, last.utc) == ("Fri 30 Oct 2026, 02:30 +01:00", "Fri 30 Oct 2026, 01:30")
        assert first.ahead == "in 12 h 30 min"
        assert [one.at.day for one in found if one.has_changed] == [26]

    def test_leaves_the_viewers_clock_to_the_browser(self, root: Any, acme: Member) -> None:
        html = page(root, path_of(plan(by=acme, cron="30 2 * * *", timezone="Europe/Berlin")))
        times = html.css("time[data-viewer-clock]")
        assert len(times) == 10
        assert all(datetime.fromisoformat(one.attributes["datetime"]).tzinfo for one in times)
        assert all("hidden" in cell.attributes for cell in html.css("[data-viewer-column]"))
        assert html.css_first('script[src*="schedules/viewer_clock.js"]') is not None

    def test_says_what_became_of_due_times(self, root: Any, acme: Member) -> None:
        schedule = plan(by=acme, cron="30 2 * * *", timezone="Europe/Berlin", tags=["a", "b"])
        today = timezone.now().replace(microsecond=0)
        run = uuid.uuid4()
        fire(schedule, today - 2 * DAY, run_uid=run)
        fire(schedule, today - 3 * DAY, late_s=125, run_uid=run)
        fire(schedule, today - 4 * DAY, kind=FireKind.MISSED, count=3, reason="catch_up is none")
        fire(schedule, today - 5 * DAY, kind=FireKind.SKIPPED)
        Fire.objects.create(schedule=schedule, kind=FireKind.TRIGGERED, at=today - DAY, run_uid=run)
        fire(schedule, today - 40 * DAY)
        html = page(root, path_of(schedule))
        cells = html.css(".strip .cell")
        words = ("skipped", "missed", "late", "on time", "by hand")
        assert len(cells) == 5
        assert all(word in (cell.attributes["title"] or "") for cell, word in zip(cells, words, strict=True))
        assert "by 2 min" in (cells[2].attributes["title"] or "")
        assert "(3 due times)" in (cells[1].attributes["title"] or "")
        assert [cell.tag for cell in cells] == ["span", "span", "a", "a", "a"]
        assert len(html.css(".fires tbody tr")) == 6
        shown = text(html)
        for part in ("overlap allow, catch_up one", "catch_up is none", "a, b", "At 02:30 every day"):
            assert part in shown
        assert html.css_first(f'a[href="/admin/runs/run/?q={run}"]') is not None

    def test_reads_a_bounded_number_of_its_past(self, root: Any, acme: Member) -> None:
        schedule = plan(by=acme)
        few = query_count(root, path_of(schedule))
        start = timezone.now() - DAY
        Fire.objects.bulk_create(
            Fire(schedule=schedule, kind=FireKind.FIRED, due_at=start + n * MINUTE, at=start + n * MINUTE)
            for n in range(150)
        )
        html = page(root, path_of(schedule))
        assert len(html.css(".fires tbody tr")) == len(html.css(".strip .cell")) == 100
        assert query_count(root, path_of(schedule)) == few <= 9

    @pytest.mark.parametrize(
        ("fields", "shown"),
        [
            ({"timezone": "Nowhere/Gone", "cron": "", "schedule_at": NOON}, "Once, on Thu 15 Jan 2026, 12:00"),
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
            by=acme, name=EVIL, tags=[EVIL[:64]], parameters={EVIL: EVIL}, last_error={EVIL: EVIL}, cron=EVIL,
            timezone=EVIL[:64],
        )  # fmt: skip
        fire(schedule, timezone.now(), kind=FireKind.SKIPPED, reason=EVIL)
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
