from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import BaseModel

from actions import action, catalogue, registry
from tests.staff import EVIL, assert_harmless, page, rows, shown, text

pytestmark = pytest.mark.django_db

LIST = "/admin/actions/action/"
FIELDS = {"enabled": "on", "timeout_s": "", "max_attempts": "", "concurrency": "", "max_concurrency": "", "rate": ""}


class Text(BaseModel):
    text: str = EVIL


@pytest.fixture(autouse=True)
def actions_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_definitions", {})


@pytest.fixture
def root(db: None) -> Any:
    from tests.staff import superuser

    return superuser()


@pytest.fixture
def row(db: None) -> Any:
    """The row of an action `enrich`."""
    define("enrich")
    return catalogue.find("enrich").row


def define(name: str, **options: Any) -> Any:
    @action(name, **{"timeout_s": 20, "max_attempts": 3, "rate": "600/m", **options})
    def act(input: Text) -> Text:
        """Find a profile.

        From very little.
        """
        return input

    return act


def path_of(row: Any) -> str:
    return f"{LIST}{row.pk}/change/"


def change(client: Any, row: Any, **fields: Any) -> Any:
    return client.post(path_of(row), {name: value for name, value in (FIELDS | fields).items() if value is not None})


class TestChanging:
    def test_switches_off_and_pauses(self, root, row):
        assert change(root, row, enabled=None, paused="on").status_code == 302
        before = row.updated_at
        row.refresh_from_db()
        assert (row.enabled, row.paused) == (False, True)
        assert row.updated_at > before

    def test_lowers_limits(self, root, row):
        given = {"timeout_s": "5.5", "max_attempts": "2", "concurrency": "1", "max_concurrency": "4", "rate": "60/m"}
        change(root, row, **given)
        limits = catalogue.find("enrich").limits
        assert (limits.timeout_s, limits.max_attempts, limits.concurrency) == (5.5, 2, 1)
        assert (limits.max_concurrency, limits.rate) == (4, "60/m")

    def test_gives_limits_back_to_the_code(self, root, row):
        change(root, row, timeout_s="5", rate="60/m")
        change(root, row)
        row.refresh_from_db()
        assert (row.timeout_s, row.max_attempts, row.rate) == (None, None, None)

    def test_shows_the_codes_limit_beside_the_one_in_force(self, root, row):
        change(root, row, timeout_s="5", max_attempts="9")
        html = page(root, path_of(row))
        assert shown(html, "Seconds, in force") == "5 (code: 20)"
        assert shown(html, "Attempts, in force") == "3"
        assert "5 (code: 20)" in rows(page(root, LIST))[0]

    @pytest.mark.parametrize(
        "given",
        [
            {"timeout_s": "0"},
            {"timeout_s": "-1"},
            {"timeout_s": "nan"},
            {"timeout_s": "inf"},
            {"timeout_s": "86401"},
            {"max_attempts": "0"},
            {"max_attempts": "1.5"},
            {"concurrency": "99999999999"},
            {"max_concurrency": "-3"},
            {"rate": "fast"},
            {"rate": "0/m"},
            {"rate": "600/m\n"},
            {"rate": "6\0/m"},
        ],
        ids=str,
    )
    def test_refuses_what_cannot_be(self, root, row, given):
        response = change(root, row, **given)
        name = next(iter(given))
        if response.status_code == 302:  # a form takes spaces off the ends of a text
            row.refresh_from_db()
            assert row.rate == "600/m"
            return
        html = page_of(response)
        assert html.css_first(f".field-{name} .errorlist")
        assert shown(html, "Rate, in force") == "600/m"
        row.refresh_from_db()
        assert getattr(row, name) is None

    def test_changes_nothing_else(self, root, row):
        before = row.created_at
        change(root, row, name="other", created_at="2020-01-01", title="other")
        row.refresh_from_db()
        assert (row.name, row.created_at) == ("enrich", before)

    @pytest.mark.parametrize("path", ["add/", "{pk}/delete/"])
    def test_adds_and_deletes_none(self, root, row, path):
        assert root.post(LIST + path.format(pk=row.pk), {"post": "yes"}).status_code == 403
        root.post(LIST, {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
        assert type(row).objects.filter(pk=row.pk).exists()


def page_of(response: Any) -> Any:
    from selectolax.lexbor import LexborHTMLParser

    assert response.status_code == 200
    return LexborHTMLParser(response.content.decode())


class TestShowing:
    def test_tells_what_the_code_says(self, root, row):
        html = text(page(root, path_of(row)))
        for told in ("Find a profile", "From very little.", "live, async, schedule", "single", '"text"', "present"):
            assert told in html

    def test_tells_what_a_pause_does_to_each_way_of_calling(self, root, row):
        told = shown(page(root, path_of(row)), "Paused")
        assert told == "Paused Paused, async launches are accepted and wait; live calls are answered 503."

    def test_lists_what_nobody_has_asked_for_yet(self, root, row):
        define("newest")
        assert len(rows(page(root, LIST))) == 2

    def test_marks_what_has_left_the_code(self, root, row, monkeypatch):
        monkeypatch.setattr(registry, "_definitions", {})
        assert "gone" in rows(page(root, LIST))[0]
        html = page(root, path_of(row))
        assert shown(html, "Code") == "gone"
        assert change(root, row, paused="on").status_code == 302

    def test_shows_markup_of_the_code_and_does_not_run_it(self, root):
        define("evil", title=EVIL, description=EVIL, errors={"BAD_LUCK": EVIL})
        row = catalogue.find("evil").row
        for path in (LIST, path_of(row)):
            html = page(root, path)
            assert_harmless(html)
            assert EVIL in text(html)

    def test_costs_the_same_for_three_rows_and_for_thirty(self, root):
        costs = []
        for start, end in ((0, 3), (3, 30)):
            for n in range(start, end):
                define(f"act-{n}")
            catalogue.sync()
            with CaptureQueriesContext(connection) as queries:
                html = page(root, LIST)
            costs.append(len(queries))
        assert len(rows(html)) == 30
        assert costs[0] == costs[1] <= 6

    @pytest.mark.parametrize("query", ["?q=%00", "?p=99999999", "?enabled__exact=x", "?o=9.x", "?e=1"])
    def test_a_malformed_query_is_no_defect(self, root, row, query):
        assert root.get(LIST + query, follow=True).status_code in {200, 400}


class TestPermissions:
    def test_strangers_are_asked_to_sign_in(self, client, row):
        assert client.get(LIST).status_code == client.post(path_of(row), FIELDS).status_code == 302

    def test_viewing_is_not_changing(self, row):
        from tests.staff import staff
        from workspaces.models import User

        viewer = staff(User.objects.create(username="vera"), "actions.view_action")
        html = page(viewer, path_of(row))
        assert not html.css("#action_form input:not([type=hidden])")
        assert shown(html, "Seconds, in force") == "20"
        assert change(viewer, row, enabled=None).status_code == 403

    def test_staff_without_the_permission_are_refused(self, row):
        from tests.staff import staff
        from workspaces.models import User

        assert staff(User.objects.create(username="vera"), "runs.view_run").get(LIST).status_code == 403
