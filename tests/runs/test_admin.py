from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pydantic import BaseModel

from actions import ActionError, action
from rest import pagination
from runs import admin_pages, search
from runs.models import Run, RunProgress, RunStatus, RunTransition
from tests.factories import define, launch, numbers, reread, work
from tests.staff import EVIL, assert_harmless, page, rows, staff, superuser, text

pytestmark = pytest.mark.django_db

LIST = "/admin/runs/run/"
PAGES = ["change", "inputs", "outputs", "timeline"]


def path_of(run: Run, name: str = "change") -> str:
    return f"{LIST}{run.pk}/{name}/"


def query_count(client: Any, path: str, **query: Any) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(path, query).status_code == 200
    return len(queries)


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


@pytest.fixture
def run(acme: Any, double: Any) -> Run:
    """A run that has ended."""
    made = launch("double", numbers(3), by=acme, name="a run", tags=["nightly"])
    work()
    return reread(made)


class Anything(BaseModel, extra="allow"):
    pass


@pytest.fixture
def hostile(acme: Any) -> Run:
    """A run whose every text is markup, with outputs, failures and an invalid input."""

    @action("echo")
    def echo(input: Anything, *, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
        given = dict(input)
        if given.get("fail"):
            raise ActionError("BAD_LUCK", EVIL, {"link": "javascript:alert(1)", EVIL: EVIL})
        yield {EVIL: EVIL, "link": "javascript:alert(1)"}

    given = [{EVIL: EVIL, "fail": fail, "custom_data": {EVIL: EVIL}} for fail in (False, True)]
    made = launch("echo", [*given, EVIL], by=acme, name=EVIL[:255], tags=[EVIL[:64]], parameters={EVIL: EVIL})
    work()
    RunTransition.objects.filter(run=made).update(reason=EVIL)
    return reread(made)


class TestList:
    def test_shows_a_run_with_who_and_how_far(self, root, run):
        (row,) = rows(page(root, LIST))
        for shown in ("double", "SUCCEEDED", "3 of 3", "a run", "nightly", "Acme", "ada@acme.test", "ASYNC"):
            assert shown in row

    def test_shows_the_label_of_the_error(self, root, acme):
        define("process", lambda n: 1 // n)
        launch("act", numbers(1), by=acme)
        work()
        assert "GENERIC_ERROR" in rows(page(root, LIST))[0]

    def test_is_newest_first(self, root, acme, double):
        for name in ("first", "second", "third"):
            launch("double", numbers(1), by=acme, name=name)
        assert [name for row in rows(page(root, LIST)) for name in ("first", "second", "third") if name in row] == [
            "third",
            "second",
            "first",
        ]

    def test_costs_the_same_for_three_rows_and_for_thirty(self, root, acme, double):
        for _ in range(3):
            launch("double", numbers(1), by=acme)
        few = query_count(root, LIST)
        for _ in range(27):
            launch("double", numbers(1), by=acme)
        assert len(rows(page(root, LIST))) == 30
        assert query_count(root, LIST) == few <= 7

    def test_reads_nothing_large(self, root, run):
        with CaptureQueriesContext(connection) as queries:
            root.get(LIST)
        (read,) = [query["sql"] for query in queries if '"runs_run"."action_name"' in query["sql"]]
        assert '"runs_run"."parameters"' not in read
        assert '"runs_run"."identity_ids"' not in read

    def test_counts_no_further_than_the_api(self, root, acme, double, monkeypatch):
        monkeypatch.setattr(pagination, "COUNTED_UP_TO", 3)
        monkeypatch.setattr("workspaces.staff.BoundedPaginator.counted_up_to", 3)
        for _ in range(5):
            launch("double", numbers(1), by=acme)
        with CaptureQueriesContext(connection) as queries:
            html = page(root, LIST)
        assert "10,000+" in html.css_first(".paginator").text()
        counting = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
        assert counting
        assert all("LIMIT 4" in sql for sql in counting)

    def test_the_address_sorts_by_no_column(self, root, acme, double):
        for name in ("b", "a", "c"):
            launch("double", numbers(1), by=acme, name=name)
        with CaptureQueriesContext(connection) as queries:
            root.get(LIST, {"o": "5.1.-2"})
        ordered = [query["sql"] for query in queries if "ORDER BY" in query["sql"] and "runs_run" in query["sql"]]
        assert ordered
        assert all('ORDER BY "runs_run"."id" DESC' in sql for sql in ordered)

    FOUND: list[tuple[dict[str, str], int]] = [
        ({"status__exact": "SUCCEEDED"}, 1),
        ({"status__exact": "QUEUED"}, 1),
        ({"status__exact": "FAILED"}, 0),
        ({"execution_mode__exact": "ASYNC"}, 2),
        ({"execution_mode__exact": "LIVE"}, 0),
        ({"action": "double"}, 2),
        ({"action": "nope"}, 0),
        ({"created": "hour"}, 2),
        ({"created": "before-day"}, 0),
        ({"created": "nonsense"}, 2),
    ]

    def test_filters(self, root, run, acme):
        launch("double", numbers(1), by=acme)
        for query, found in self.FOUND:
            assert len(rows(page(root, LIST, **query))) == found, query

    def test_filters_by_the_key_of_the_action(self, root, run):
        with CaptureQueriesContext(connection) as queries:
            root.get(LIST, {"action": "double"})
        filtered = [query["sql"].partition(" WHERE ")[2] for query in queries if 'FROM "runs_run"' in query["sql"]]
        assert filtered
        assert all(f'"runs_run"."action_id" = {run.action_id}' in sql for sql in filtered)

    def test_filters_by_workspace(self, root, run, other):
        launch("double", numbers(1), by=other, name="theirs")
        (row,) = rows(page(root, LIST, workspace=other.workspace.pk))
        assert "theirs" in row

    def test_older_runs_are_found_by_their_time(self, root, run):
        Run.objects.update(created_at=timezone.now() - timedelta(days=8))
        assert not rows(page(root, LIST, created="week"))
        assert len(rows(page(root, LIST, created="before-week"))) == 1


class TestSearch:
    @pytest.mark.parametrize(
        "written",
        [str, lambda uid: str(uid).upper(), lambda uid: uid.hex, lambda uid: uid.hex.upper(), lambda uid: f" {uid} "],
        ids=["usual", "capitals", "plain", "plain capitals", "spaces"],
    )
    def test_finds_a_uid_however_it_is_written(self, root, run, acme, written):
        launch("double", numbers(1), by=acme)
        (row,) = rows(page(root, LIST, q=written(run.uid)))
        assert "a run" in row

    @pytest.mark.parametrize("text", ["a ru", "A RUN", "nightly"], ids=["part", "case", "tag"])
    def test_finds_a_name_or_a_tag(self, root, run, acme, text):
        launch("double", numbers(1), by=acme)
        assert len(rows(page(root, LIST, q=text))) == 1

    @pytest.mark.parametrize("text", ["night", "%", "_", "zzz", str(uuid.UUID(int=1))], ids=lambda text: text)
    def test_finds_nothing_else(self, root, run, text):
        assert not rows(page(root, LIST, q=text))

    def test_is_of_what_the_filters_left(self, root, run):
        assert not rows(page(root, LIST, q="nightly", status__exact="FAILED"))

    def test_looks_at_the_names_of_the_latest_only(self, root, acme, double, monkeypatch):
        monkeypatch.setattr(search, "NAMES_LOOKED_AT", 2)
        for name in ("x old", "x new", "x newest"):
            launch("double", numbers(1), by=acme, name=name)
        assert len(rows(page(root, LIST, q="x"))) == 2

    def test_a_name_that_is_a_uid_is_found_as_well(self, root, acme, double):
        name = str(uuid.uuid4())
        launch("double", numbers(1), by=acme, name=name)
        assert len(rows(page(root, LIST, q=name))) == 1


MALFORMED = {
    "NUL in the search": "?q=%00",
    "a page far off": "?p=99999999",
    "a page that is none": "?p=x",
    "all": "?all=",
    "unknown status": "?status__exact=x",
    "NUL in a filter": "?status__exact=%00",
    "NUL in a filter of ours": "?action=%00",
    "not UTF-8": "?q=%ff&action=%ff",
    "the error flag": "?e=1",
    "facets": "?_facets=True",
    "a workspace that is no number": "?workspace=x",
    "a workspace out of range": "?workspace=" + "9" * 6000,
    "a long workspace": "?workspace=99999999999999999999",
    "a sort that is none": "?o=x.-99.1",
    "a regular expression": "?name__regex=(((",
    "a relation": "?user__password__startswith=p",
    "no field": "?nope=1",
    "popup": "?_popup=1&_to_field=uid",
    "long": "?q=" + "x" * 7000,
}


@pytest.mark.parametrize("name", ["list", "inputs", "outputs", "timeline", "change"])
def test_a_malformed_query_is_no_defect(root, run, name):
    path = LIST if name == "list" else path_of(run, name)
    answered = {what: root.get(path + query, follow=True).status_code for what, query in MALFORMED.items()}
    assert {what: status for what, status in answered.items() if status not in {200, 400}} == {}


@pytest.mark.parametrize("query", ["name__regex=x", "name__icontains=x", "parameters__a=1", "user__password=x"])
def test_the_list_takes_no_lookups_but_its_own(root, run, query):
    assert root.get(f"{LIST}?{query}").status_code == 400


class TestDetail:
    def test_shows_all_there_is_to_know(self, root, run):
        html = page(root, path_of(run))
        for shown in (str(run.uid), "SUCCEEDED", "launched", "ada@acme.test", "3 done", "nightly"):
            assert shown in text(html)
        assert html.css_first(".run-bar").attributes["title"] == "3 succeeded, 0 failed, 0 invalid, 0 remaining"

    def test_shows_parameters_and_error(self, root, hostile):
        html = text(page(root, path_of(hostile)))
        assert "BAD_LUCK" in html
        assert html.count("alert(1)") > 4

    def test_no_form_changes_it(self, root, run):
        before = Run.objects.values().get(pk=run.pk)
        html = page(root, path_of(run))
        assert not html.css("form#run_form input:not([type=hidden]), form#run_form select, form#run_form textarea")
        response = root.post(path_of(run), {"status": "FAILED", "name": "changed", "_save": "1"})
        assert response.status_code == 403
        assert Run.objects.values().get(pk=run.pk) == before

    @pytest.mark.parametrize("path", ["add/", "{pk}/delete/"])
    @pytest.mark.parametrize("method", ["get", "post"])
    def test_none_is_added_or_deleted(self, root, run, path, method):
        assert getattr(root, method)(LIST + path.format(pk=run.pk), {"post": "yes"}).status_code == 403
        assert Run.objects.count() == 1

    def test_the_list_has_no_actions_to_take(self, root, run):
        root.post(LIST, {"action": "delete_selected", "_selected_action": run.pk, "post": "yes"})
        assert Run.objects.get().status == RunStatus.SUCCEEDED

    @pytest.mark.parametrize("name", ["inputs", "outputs", "timeline"])
    def test_a_post_to_the_pages_below_changes_nothing(self, root, run, name):
        before = Run.objects.values().get(), RunProgress.objects.values().get()
        root.post(path_of(run, name), {"status": "FAILED"})
        assert (Run.objects.values().get(), RunProgress.objects.values().get()) == before

    @pytest.mark.parametrize("name", PAGES)
    def test_an_unknown_one_leads_home(self, root, run, name):
        for pk in ("999999999", "nope", "9" * 30, "%00", "_3Cscript_3E"):
            response = root.get(f"{LIST}{pk}/{name}/")
            assert (response.status_code, response.headers["Location"]) == (302, "/admin/"), pk

    @pytest.mark.parametrize("name", PAGES)
    def test_no_page_is_kept_by_a_cache(self, root, run, name):
        kept = root.get(path_of(run, name)).headers["Cache-Control"]
        assert {"no-store", "private"} <= set(kept.split(", "))

    @pytest.mark.parametrize("name", PAGES)
    def test_costs_the_same_however_large_the_run(self, root, acme, count_up, name):
        costs = []
        for count in (3, 30):
            run = launch("count-up", numbers(count), by=acme, batch_size=100)
            work()
            costs.append(query_count(root, path_of(run, name)))
        assert costs[0] == costs[1] <= 14


class TestPagesBelow:
    def test_inputs_show_what_became_of_each(self, root, hostile):
        html = page(root, path_of(hostile, "inputs"))
        texts = [row.text() for row in html.css("table.inputs tbody tr")]
        assert len(texts) == 3
        assert "SUCCEEDED" in texts[0]
        assert "BAD_LUCK" in texts[1]
        assert "BAD_INPUT" in texts[2]

    def test_inputs_come_in_pages_that_lead_on(self, root, acme, double):
        run = launch("double", numbers(45), by=acme)
        work()
        seen: list[str] = []
        path = path_of(run, "inputs")
        for _ in range(3):
            html = page(root, path)
            seen += [row.attributes["id"] for row in html.css("table.inputs tbody tr")]
            following = html.css_first("a[rel=next]")
            path = path_of(run, "inputs") + following.attributes["href"] if following else ""
        assert (seen, path) == ([f"input-{n}" for n in range(45)], "")

    def test_inputs_filtered_by_status_come_in_pages_too(self, root, acme):
        define("process", lambda n: n // (n % 2))
        run = launch("act", numbers(90), by=acme)
        work()
        html = page(root, path_of(run, "inputs"), status="FAILED")
        following = html.css_first("a[rel=next]").attributes["href"]
        rest = page(root, path_of(run, "inputs") + following)
        seen = [row.attributes["id"] for one in (html, rest) for row in one.css("table.inputs tbody tr")]
        assert seen == [f"input-{n}" for n in range(0, 80, 2)]

    def test_inputs_show_their_first_outputs_and_where_the_others_are(self, root, acme, count_up):
        run = launch("count-up", [{"n": 0}, {"n": 7}, {"n": 2}], by=acme)
        work()
        some = page(root, path_of(run, "inputs")).css("table.inputs tbody tr")
        assert [len(row.css("td:last-child pre")) for row in some] == [0, 3, 2]
        link = some[1].css_first("td:last-child a").attributes["href"]
        others = [row.text(separator=" ").split() for row in page(root, link).css("table tbody tr")]
        assert others[0] == ["1", "0", "0"]
        assert len(others) == 9

    def test_outputs_come_in_pages_that_lead_on(self, root, acme, count_up):
        run = launch("count-up", [{"n": 60}, {"n": 61}], by=acme)
        work()
        seen: list[list[str]] = []
        path = path_of(run, "outputs")
        for _ in range(3):
            html = page(root, path)
            seen += [row.text(separator=" ").split() for row in html.css("table tbody tr")]
            following = html.css_first("a[rel=next]")
            path = path_of(run, "outputs") + following.attributes["href"] if following else ""
        assert path == ""
        assert seen == [[str(index), str(n), str(n)] for index in (0, 1) for n in range(60 + index)]

    def test_timelines_come_in_pages(self, root, run, monkeypatch):
        monkeypatch.setattr(admin_pages, "TRANSITIONS_A_PAGE", 2)
        html = page(root, path_of(run, "timeline"))
        assert len(html.css(".run-timeline li")) == 2
        following = html.css_first("a[rel=next]").attributes["href"]
        assert "SUCCEEDED" in text(page(root, path_of(run, "timeline") + following))
        assert page(root, path_of(run)).css_first(f"a[href='{path_of(run, 'timeline')}?offset=2']")

    def test_what_is_large_is_cut(self, root, acme):
        define("process", lambda n: "<b>" * 20_000)
        run = launch("act", [{"n": 1, "custom_data": {"x": "<i>" * 1_000}}], by=acme)
        work()
        response = root.get(path_of(run, "inputs"))
        assert "10,000 of 60,002 bytes" in response.content.decode()
        assert len(response.content) < 80_000

    def test_what_is_deep_is_cut(self, root, acme):
        @action("nest")
        def nest(input: Anything) -> Any:
            value: Any = [1] * 2_000
            for _ in range(60):
                value = [value]
            return value

        run = launch("nest", [{}], by=acme)
        work()
        assert len(root.get(path_of(run, "outputs")).content) < 60_000


class TestMarkup:
    @pytest.mark.parametrize("name", PAGES)
    def test_is_shown_and_not_run(self, root, hostile, name):
        html = page(root, path_of(hostile, name))
        assert_harmless(html)
        assert "<img src=x onerror=alert(1)>" in text(html)

    def test_is_shown_and_not_run_in_the_list(self, root, hostile):
        html = page(root, LIST)
        assert_harmless(html)
        assert EVIL[:64] in text(html)

    def test_of_a_search_is_shown_and_not_run(self, root, hostile):
        assert_harmless(page(root, LIST, q=EVIL, action=EVIL, status__exact=EVIL, p=EVIL, o=EVIL))

    @pytest.mark.parametrize("name", ["inputs", "outputs", "timeline"])
    def test_of_an_address_is_shown_and_not_run(self, root, hostile, name):
        assert_harmless(page(root, path_of(hostile, name), status=EVIL, offset=EVIL, input=EVIL, other=EVIL))


class TestPermissions:
    ALL = MappingProxyType({"list": LIST} | dict.fromkeys(PAGES, ""))

    @pytest.mark.parametrize("name", ALL)
    def test_strangers_are_asked_to_sign_in(self, client, run, name):
        path = self.ALL[name] or path_of(run, name)
        response = client.get(path)
        assert (response.status_code, response.headers["Location"]) == (302, f"/admin/login/?next={path}")

    @pytest.mark.parametrize("name", ALL)
    def test_users_who_are_no_staff_are_asked_to_sign_in(self, client, run, acme, name):
        client.force_login(acme.user)
        assert client.get(self.ALL[name] or path_of(run, name)).status_code == 302

    @pytest.mark.parametrize("name", ALL)
    def test_staff_without_the_permission_are_refused(self, run, acme, name):
        assert staff(acme.user, "actions.view_action").get(self.ALL[name] or path_of(run, name)).status_code == 403

    @pytest.mark.parametrize("name", ALL)
    def test_staff_with_it_see_their_workspace(self, run, acme, name):
        assert staff(acme.user, "runs.view_run").get(self.ALL[name] or path_of(run, name)).status_code == 200

    @pytest.mark.parametrize("name", PAGES)
    def test_staff_see_no_other_workspace(self, run, other, name):
        client = staff(other.user, "runs.view_run")
        response = client.get(path_of(run, name))
        assert (response.status_code, response.headers["Location"]) == (302, "/admin/")
        assert not rows(page(client, LIST))
        assert not rows(page(client, LIST, workspace=run.workspace_id))
        assert not rows(page(client, LIST, q=str(run.uid)))

    def test_staff_are_offered_no_other_workspace(self, run, other):
        html = page(staff(other.user, "runs.view_run"), LIST)
        assert "Globex" in text(html)
        assert "Acme" not in text(html)

    def test_staff_who_may_change_runs_cannot(self, run, acme):
        client = staff(acme.user, "runs.view_run", "runs.change_run", "runs.delete_run", "runs.add_run")
        assert client.post(path_of(run), {"name": "changed"}).status_code == 403
        assert client.post(f"{LIST}{run.pk}/delete/", {"post": "yes"}).status_code == 403
        assert client.get(f"{LIST}add/").status_code == 403

    def test_staff_of_several_workspaces_see_them_all_in_the_same_number_of_queries(self, run, other, acme):
        from workspaces import keys

        keys.ensure_membership(workspace_name="Globex", email=acme.user.email)
        client = staff(acme.user, "runs.view_run")
        alone = query_count(client, LIST)
        launch("double", numbers(1), by=other)
        assert len(rows(page(client, LIST))) == 2
        assert query_count(client, LIST) == alone
