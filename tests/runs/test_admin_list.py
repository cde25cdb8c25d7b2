"""The list of runs in the admin: its filters, and what of it is refreshed while runs move."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs import admin_list
from runs.models import Run, RunProgress, RunStatus
from tests.factories import launch, numbers, work
from tests.staff import EVIL, assert_harmless, page, rows, staff, superuser

pytestmark = pytest.mark.django_db

LIST = "/admin/runs/run/"
MOVING = f"{LIST}moving/"


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


def names(client: Any, **query: Any) -> set[str]:
    """Return the names of the runs listed."""
    return {name.text() for name in page(client, LIST, **query).css("#result_list .run-name")}


class TestFilters:
    @pytest.fixture(autouse=True)
    def two(self, acme: Any, other: Any, double: Any) -> None:
        self.schedule = uuid.uuid4()
        first = launch("double", numbers(1), by=acme, name="old hand", tags=["blue", "both"])
        launch("double", numbers(1), by=other, name="newcomer", tags=["red", "both"])
        Run.objects.filter(pk=first.pk).update(
            created_at=timezone.now() - timedelta(days=3),
            status=RunStatus.STOPPED,
            schedule_uid=self.schedule,
            schedule_name=EVIL,
        )

    FOUND: list[tuple[dict[str, Any], Any]] = [
        ({"status__exact": ["STOPPED"]}, {"old hand"}),
        ({"status__exact": ["STOPPED", "QUEUED"]}, {"old hand", "newcomer"}),
        ({"status__exact": ["FAILED", "nonsense"]}, set()),
        ({"execution_mode__exact": ["LIVE", "ASYNC"]}, {"old hand", "newcomer"}),
        ({"action": ["double", "none"]}, {"old hand", "newcomer"}),
        ({"action": "none"}, set()),
        ({"tag": "red"}, {"newcomer"}),
        ({"tag": ["red", "blue"]}, {"old hand", "newcomer"}),
        ({"tag": "bl"}, set()),
        ({"name": "HAND"}, {"old hand"}),
        ({"name": "%"}, set()),
        ({"user": "ada@acme.test"}, {"old hand"}),
        ({"user": "nobody"}, set()),
        ({"schedule": "nonsense"}, set()),
        ({"created_after": "2020-01-31T08:00"}, {"old hand", "newcomer"}),
        ({"created_before": "2020-01-31T08:00"}, set()),
        ({"created_before": "2020-01-31T08:00:00+02:00", "status__exact": ""}, set()),
        ({"status__exact": "STOPPED", "tag": "red"}, set()),
        ({"status__exact": "STOPPED", "p": "7"}, {"old hand"}),
        (dict.fromkeys(["created", "created_after", "tag", "name", "user", "schedule", "workspace", "q"], ""), 2),
    ]

    def test_find_what_they_say(self, root):
        for query, found in self.FOUND:
            listed = names(root, **query)
            assert (listed if isinstance(found, set) else len(listed)) == found, query

    def test_finds_the_runs_of_users_and_schedules_by_uid(self, root, other):
        assert names(root, user=str(other.user.uid)) == {"newcomer"}
        assert names(root, schedule=str(self.schedule)) == {"old hand"}

    def test_takes_times_as_utc(self, root):
        moment = timezone.now() - timedelta(days=1)
        assert names(root, created_after=f"{moment:%Y-%m-%dT%H:%M}") == {"newcomer"}
        assert names(root, created_before=f"{moment:%Y-%m-%dT%H:%M}") == {"old hand"}

    @pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00", "9" * 500])
    def test_refuses_what_is_no_time(self, root, text):
        response = root.get(LIST, {"created_after": text})
        assert (response.status_code, response.headers["Location"]) == (302, f"{LIST}?e=1")

    def test_what_is_set_is_shown_and_can_be_taken_back(self, root):
        html = page(root, LIST, status__exact=["STOPPED", "FAILED"], tag="blue", name="", p="1")
        told = [one.text(separator=" ").split()[:-1] for one in html.css(".run-chosen li")]
        assert told == [["Status:", "STOPPED,", "FAILED"], ["Tag:", "blue"]]
        without = html.css(".run-chosen li a")[1].attributes["href"]
        assert without.count("status__exact=") == 2
        assert "tag=" not in without
        assert [one.attributes["value"] for one in html.css("input[name=status__exact][checked]")] == [
            "STOPPED",
            "FAILED",
        ]

    def test_an_empty_form_is_no_filter(self, root):
        assert not page(root, LIST, tag="", name="", workspace="").css(".run-chosen")

    def test_a_status_is_a_click_away_and_keeps_the_other_filters(self, root):
        html = page(root, LIST, tag="both", status__exact="STOPPED")
        (chosen,) = html.css(".run-quick a[aria-current]")
        assert chosen.text() == "Stopped"
        at_work = html.css(".run-quick a")[1].attributes["href"]
        assert names(root.get(LIST + at_work).client, tag="both", status__exact="QUEUED") == {"newcomer"}
        assert "tag=both" in at_work

    def test_shows_and_does_not_run_what_is_stored_or_sent(self, root):
        assert_harmless(page(root, LIST, tag=EVIL, name=EVIL, user=EVIL, schedule=EVIL, action=EVIL))
        assert EVIL in page(root, LIST).css_first(".field-who a").text()

    def test_staff_find_no_runs_of_other_workspaces(self, acme, other):
        client = staff(acme.user, "runs.view_run")
        for query in ({"user": str(other.user.uid)}, {"tag": "red"}, {"name": "new"}, {"status__exact": "QUEUED"}):
            assert not names(client, **query)


def test_runs_before_a_time_are_looked_for_from_there_on(root, acme, other, double):
    old = [launch("double", numbers(1), by=by).pk for by in (acme, other)]
    Run.objects.update(created_at=timezone.now() - timedelta(days=3))
    new = [launch("double", numbers(1), by=by).pk for by in (acme, other)]
    with CaptureQueriesContext(connection) as queries:
        assert len(rows(page(root, LIST, created="before-day"))) == 2
    (listed,) = [query["sql"] for query in queries if 'ORDER BY "runs_run"."id" DESC' in query["sql"]]
    assert f'"runs_run"."id" <= {old[1]}' in listed
    assert new[0] > old[1]


class TestRefresh:
    @pytest.fixture
    def run(self, acme: Any, double: Any) -> Run:
        return launch("double", numbers(3), by=acme)

    def test_the_list_asks_for_its_unfinished_runs_only(self, root, acme, run):
        work()
        assert "hx-get" not in page(root, LIST).css_first("#runs-moving").attributes
        moving = launch("double", numbers(1), by=acme)
        stopped = launch("double", numbers(1), by=acme)
        Run.objects.filter(pk=stopped.pk).update(status=RunStatus.STOPPED)
        poll = page(root, LIST).css_first("#runs-moving")
        assert poll.attributes["hx-get"] == f"{MOVING}?run={moving.pk}"

    def test_brings_the_cells_that_moved_and_stops_at_the_end(self, root, run):
        RunProgress.objects.update(succeeded_count=1, failed_count=1, remaining=1)
        html = page(root, MOVING, run=run.pk)
        assert html.css_first(f"#run-{run.pk}-progress[hx-swap-oob]").text() == "2 of 3, 1 failed"
        assert html.css_first("#runs-moving").attributes["hx-get"] == f"{MOVING}?run={run.pk}"
        Run.objects.update(status=RunStatus.PARTIAL_SUCCEEDED, last_error={"label": EVIL})
        html = page(root, MOVING, run=run.pk)
        assert html.css_first(f"#run-{run.pk}-status .badge").text() == "PARTIAL_SUCCEEDED"
        assert EVIL in html.css_first(f"#run-{run.pk}-status").text()
        assert_harmless(html)
        assert "hx-get" not in html.css_first("#runs-moving").attributes

    def test_is_one_query_however_many(self, root, acme, run, django_assert_num_queries):
        others = [launch("double", numbers(1), by=acme).pk for _ in range(5)]
        with django_assert_num_queries(3):  # the session, the user, the runs
            html = page(root, MOVING, run=[run.pk, *others])
        assert len(html.css(".run-took")) == 6

    def test_is_bounded(self, root, acme, run, monkeypatch):
        monkeypatch.setattr("runs.admin.REFRESHED_AT_ONCE", 1)
        other = launch("double", numbers(1), by=acme)
        assert len(page(root, MOVING, run=[run.pk, other.pk]).css(".run-took")) == 1

    @pytest.mark.parametrize("asked", ["x", "", "9" * 30, EVIL])
    def test_takes_what_is_no_run(self, root, run, asked):
        assert not page(root, MOVING, run=asked).css(".run-took")

    def test_is_of_ones_own_workspaces(self, run, acme, other):
        assert not page(staff(other.user, "runs.view_run"), MOVING, run=run.pk).css(".run-took")
        assert page(staff(acme.user, "runs.view_run"), MOVING, run=run.pk).css(".run-took")

    def test_takes_the_permission(self, run, acme, client):
        assert staff(acme.user, "actions.view_action").get(MOVING).status_code == 403
        assert client.get(MOVING).status_code == 302


def test_every_status_is_a_click_away() -> None:
    reachable = {status for statuses in admin_list.QUICK.values() for status in statuses}
    assert reachable == set(RunStatus)
