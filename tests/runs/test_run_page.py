"""A run's page in the admin: how it goes, its batches, errors and callbacks, and that it refreshes itself gently."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import ActionError
from runs import admin_pages, cancellation
from runs import callbacks as making
from runs.lifecycle import By
from runs.models import Actor, Run, RunProgress, RunStatus
from tests.factories import define, launch, numbers, reread, work
from tests.runs.called_back import announced, asked
from tests.staff import EVIL, assert_harmless, page, staff, superuser, text
from webhooks.models import Callback

pytestmark = pytest.mark.django_db

QUERIES = 16  # of a page with all there is, with the session and the user


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


def path_of(run: Run, end: str = "change/") -> str:
    return f"/admin/runs/run/{run.pk}/{end}"


def fail(n: int) -> int:
    raise ActionError("BAD_LUCK" if n % 2 else "WORSE_LUCK", f"{n} {EVIL}")


@pytest.fixture
def failed(acme: Any, loopback_receivers: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with failures of two labels, invalid inputs and callbacks that wait."""
    monkeypatch.setattr(making, "_turns", making._Turns())
    define("process", fail)
    run = launch("act", [*numbers(9), {}, {}], by=acme, batch_size=4, name=EVIL, callback=asked())
    work()
    announced(run)
    Callback.objects.filter(run_uid=run.uid).update(
        attempts=[{"at": "2026-01-31T08:00:00Z", "http_status": 500, "duration_ms": 5, "error": EVIL}]
    )
    return reread(run)


@pytest.fixture
def queued(acme: Any, double: Any) -> Run:
    return launch("double", numbers(5), by=acme, batch_size=2)


class TestPage:
    def test_groups_errors_with_links_to_their_inputs(self, root, failed):
        html = page(root, path_of(failed))
        found = {row.css_first("th").text(): row for row in html.css("section table.wide tbody tr") if row.css("th")}
        assert {label: row.css_first(".number").text() for label, row in found.items()} == {
            "BAD_LUCK": "4",
            "WORSE_LUCK": "5",
            "BAD_INPUT": "2",
        }
        link = found["BAD_LUCK"].css_first("th a").attributes["href"]
        listed = [row.attributes["id"] for row in page(root, link).css("table.inputs tbody tr")]
        assert listed == ["input-1", "input-3", "input-5", "input-7"]

    def test_maps_batches_with_links_to_their_inputs(self, root, failed):
        cells = page(root, path_of(failed)).css(".run-map a")
        assert [cell.attributes["href"] for cell in cells] == [
            path_of(failed, f"inputs/?offset={n}") for n in (0, 4, 8)
        ]
        assert cells[2].attributes["title"] == "Inputs 8 to 10, failed: 0 succeeded, 3 failed"

    def test_shows_callbacks_with_their_attempts(self, root, failed):
        html = page(root, path_of(failed))
        assert "12 PENDING" in text(html)
        assert EVIL[:40] in html.css_first(".run-callbacks").text()
        assert html.css_first(f"a[href='/admin/webhooks/callback/?q={failed.uid}']")
        assert page(root, html.css_first(".run-callbacks a").attributes["href"])

    def test_shows_callbacks_to_those_only_who_may_see_them(self, failed, acme):
        assert not page(staff(acme.user, "runs.view_run"), path_of(failed)).css(".run-callbacks")
        assert page(staff(acme.user, "webhooks.view_callback"), path_of(failed)).css(".run-callbacks")

    def test_shows_neither_the_path_nor_the_headers_of_a_callback(self, root, failed):
        html = root.get(path_of(failed)).content.decode()
        assert "http://127.0.0.1:9" in html
        assert "/hook" not in html

    def test_what_is_stored_is_shown_and_not_run(self, root, failed):
        assert_harmless(page(root, path_of(failed)))

    def test_costs_the_same_whatever_there_is_of_it(self, root, failed, acme, django_assert_max_num_queries):
        with django_assert_max_num_queries(QUERIES) as few:
            root.get(path_of(failed))
        run = launch("act", [*numbers(60), *[{}] * 20], by=acme, batch_size=2, callback=asked())
        work()
        announced(run)
        with django_assert_max_num_queries(len(few)):
            root.get(path_of(run))

    def test_a_run_of_which_nothing_is_executed_has_no_map(self, root, acme, double):
        run = launch("double", [{}, {}], by=acme)
        html = page(root, path_of(run))
        assert not html.css(".run-map")
        assert not html.css(".run-chart")


class TestRefresh:
    def test_asks_while_the_run_moves_and_no_longer(self, root, queued):
        part = page(root, path_of(queued)).css_first("#run-live")
        assert part.attributes["hx-trigger"] == "every 3s"
        work()
        part = page(root, path_of(queued)).css_first("#run-live")
        assert "hx-get" not in part.attributes

    def test_a_stopped_run_does_not_move(self, root, queued, acme):
        cancellation.cancel(queued, by=By(Actor.MEMBER, acme.user.uid), now=timezone.now())
        assert "hx-get" not in page(root, path_of(queued)).css_first("#run-live").attributes

    def test_is_one_query_and_no_answer_where_nothing_changed(
        self, root, queued, monkeypatch, django_assert_num_queries
    ):
        now = timezone.now()
        monkeypatch.setattr("runs.admin.timezone.now", lambda: now)
        address = page(root, path_of(queued)).css_first("#run-live").attributes["hx-get"]
        with django_assert_num_queries(3):  # the session, the user, how it stands
            response = root.get(address)
        assert (response.status_code, response.content) == (204, b"")
        RunProgress.objects.filter(run=queued).update(remaining=4, succeeded_count=1)
        html = page(root, address)
        assert html.css_first(".run-percent").text() == "20 %"
        assert html.css_first("#run-live").attributes["hx-get"] != address
        assert html.css_first("#run-said").text() == "QUEUED, 20 % done"

    def test_the_last_answer_asks_for_no_other(self, root, queued):
        address = page(root, path_of(queued)).css_first("#run-live").attributes["hx-get"]
        work()
        html = page(root, address)
        assert "SUCCEEDED" in html.css_first(".run-head").text()
        assert "hx-get" not in html.css_first("#run-live").attributes

    def test_what_takes_long_is_shown_anew_without_a_result(self, queued):
        now = timezone.now()
        seen = {admin_pages.how_it_stands(Run.objects.all(), now=now + timedelta(seconds=s)) for s in (0, 30)}
        assert len(seen) == 2

    def test_a_run_of_many_checkpoints_is_refreshed_less_often(self, root, queued, monkeypatch):
        monkeypatch.setattr("runs.admin.CHEAP_CHUNKS", 1)
        work()
        Run.objects.update(status=RunStatus.RUNNING)
        assert page(root, path_of(queued)).css_first("#run-live").attributes["hx-trigger"] == "every 15s"

    @pytest.mark.parametrize("pk", ["999999999", "nope", "9" * 30, "_3Cscript_3E", "%00"])
    def test_stops_where_there_is_no_run(self, root, queued, pk):
        response = root.get(f"/admin/runs/run/{pk}/live/")
        assert (response.status_code, response.content) == (286, b"There is no such run.")

    def test_is_of_ones_own_workspaces(self, queued, other, acme):
        assert staff(other.user, "runs.view_run").get(path_of(queued, "live/")).status_code == 286
        assert staff(acme.user, "runs.view_run").get(path_of(queued, "live/")).status_code == 200

    def test_takes_the_permission(self, queued, acme, client):
        assert staff(acme.user, "actions.view_action").get(path_of(queued, "live/")).status_code == 403
        assert client.get(path_of(queued, "live/")).status_code == 302

    def test_a_post_changes_nothing(self, root, queued):
        root.post(path_of(queued, "live/"), {"status": "FAILED"})
        assert Run.objects.get().status == RunStatus.QUEUED


class TestInputs:
    def test_are_found_by_index(self, root, acme, double):
        run = launch("double", numbers(50), by=acme)
        rows = page(root, path_of(run, "inputs/"), offset=42).css("table.inputs tbody tr")
        assert [row.attributes["id"] for row in rows] == [f"input-{n}" for n in range(42, 50)]

    def test_filtered_by_label_say_so_and_lead_on(self, root, acme):
        define("process", fail)
        run = launch("act", numbers(60), by=acme)
        work()
        html = page(root, path_of(run, "inputs/"), error_label="BAD_LUCK")
        assert "30 inputs" in html.css_first(".run-count").text()
        following = html.css_first("a[rel=next]").attributes["href"]
        rest = page(root, path_of(run, "inputs/") + following).css("table.inputs tbody tr")
        assert [row.attributes["id"] for row in rest] == [f"input-{n}" for n in range(41, 60, 2)]

    def test_a_label_of_markup_is_shown_and_not_run(self, root, queued):
        html = page(root, path_of(queued, "inputs/"), error_label=EVIL, status="FAILED")
        assert_harmless(html)
        assert EVIL in html.css_first(".run-chosen").text()

    def test_outputs_are_found_by_input(self, root, queued):
        work()
        rows = page(root, path_of(queued, "outputs/"), input=3).css("table tbody tr")
        assert [row.text(separator=" ").split()[0] for row in rows] == ["3", "4"]


def test_reads_no_callback_body_or_header(root, failed) -> None:
    with CaptureQueriesContext(connection) as queries:
        root.get(path_of(failed))
    for query in queries:
        assert '"webhooks_destination"."headers"' not in query["sql"]
