"""Verbs: how staff act in the admin, and on what. The keys, which have one, stand for all models."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from selectolax.lexbor import LexborHTMLParser

from tests.factories import Member, member
from tests.staff import (
    EVIL,
    ask_of_many,
    assert_harmless,
    do_to_many,
    do_to_one,
    offered_verbs,
    page,
    rows,
    staff,
    superuser,
    text,
    told,
)
from workspaces import acting, keys, staff_verbs
from workspaces.models import ApiKey, User

pytestmark = pytest.mark.django_db

KEYS = "/admin/workspaces/apikey/"
BULK = f"{KEYS}bulk/revoke/"
MAY = ("workspaces.view_apikey", "workspaces.change_apikey")


@pytest.fixture
def root(db: None) -> Client:
    return superuser()


@pytest.fixture
def three(acme: Member) -> list[ApiKey]:
    """Three keys that open the door, the oldest first."""
    return [acme.row, *(keys.make_key(acme.membership, name=name)[0] for name in ("two", "three"))]


def asked(client: Client, *chosen: Any, **more: Any) -> LexborHTMLParser:
    return LexborHTMLParser(ask_of_many(client, KEYS, "revoke", *chosen, **more).content.decode())


def heading(html: LexborHTMLParser) -> str:
    return html.css_first("form.confirmation h2").text()


def post(client: Client, *chosen: ApiKey, path: str = BULK) -> Any:
    return client.post(path, {"rows": ",".join(str(row.pk) for row in chosen)}, follow=True)


def usable() -> int:
    return ApiKey.objects.usable(timezone.now()).count()


class TestOneRow:
    def test_has_a_button_while_the_verb_is_for_its_state(self, root, acme):
        path = f"{KEYS}{acme.row.pk}/change/"
        assert offered_verbs(page(root, path)) == ["revoke"]
        assert do_to_one(root, KEYS, "revoke", acme.row)
        assert offered_verbs(page(root, path)) == []

    def test_is_asked_about_and_then_told_of(self, root, acme):
        html = page(root, f"{KEYS}{acme.row.pk}/revoke/")
        assert heading(html) == "Revoke this api key?"
        assert "This cannot be undone." in text(html)
        assert usable() == 1
        html = do_to_one(root, KEYS, "revoke", acme.row)
        assert told(html) == f"{acme.row}: Revoked."
        entry = LogEntry.objects.get()
        assert (entry.user.username, entry.object_id, entry.change_message) == ("root", str(acme.row.pk), "Revoked.")

    def test_that_is_gone_leads_home(self, root, db):
        assert root.get(f"{KEYS}999/revoke/").headers["Location"] == "/admin/"

    @pytest.mark.parametrize("method", ["get", "head", "options", "put"])
    def test_is_acted_on_by_a_post_alone(self, root, acme, method):
        getattr(root, method)(f"{KEYS}{acme.row.pk}/revoke/")
        assert usable() == 1


class TestManyRows:
    def test_are_counted_before_anything_happens(self, root, three):
        html = asked(root, *three)
        assert heading(html) == "Revoke 3 api keys?"
        assert all(row.prefix in text(html) for row in three)
        assert usable() == 3

    def test_are_acted_on_each_and_written_down_with_who_did_it(self, root, three):
        html = do_to_many(root, KEYS, "revoke", *three[:2])
        assert told(html) == "2 of 2 api keys: Revoked."
        assert usable() == 1
        assert {entry.user.username for entry in LogEntry.objects.all()} == {"root"}
        assert LogEntry.objects.count() == 2

    def test_in_no_state_for_it_are_left_out_and_counted(self, root, three):
        keys.revoke_key(three[0], now=timezone.now())
        html = asked(root, *three)
        assert heading(html) == "Revoke 2 api keys?"
        assert "1 api key left out: this is not for the state they are in." in text(html)
        assert html.css_first("[name=rows]").attributes["value"] == f"{three[1].pk},{three[2].pk}"

    def test_none_of_which_are_in_a_state_for_it_are_not_asked_about(self, root, acme):
        keys.revoke_key(acme.row, now=timezone.now())
        html = asked(root, acme.row)
        assert not html.css("form.confirmation")
        assert told(html) == "Revoke: nothing was done. This is not for the state of 1 api key."

    def test_that_are_refused_stop_no_others_and_are_told_with_the_reason(self, root, three):
        for row in three[:2]:
            keys.revoke_key(row, now=timezone.now())  # after they were confirmed
        html = LexborHTMLParser(post(root, *three).content.decode())
        assert "1 of 3 api keys: Revoked." in told(html)
        assert "Left as they are, 2 api keys: It was revoked before." in told(html)
        assert all(row.prefix in told(html) for row in three[:2])
        assert usable() == 0

    def test_are_at_most_so_many_the_oldest_first(self, root, three, monkeypatch):
        monkeypatch.setattr(acting, "MOST_ROWS", 2)
        html = asked(root, *three)
        assert heading(html) == "Revoke 2 api keys?"
        assert "1 api key left for the next time: at most 2 at once, the oldest first." in text(html)
        assert html.css_first("[name=rows]").attributes["value"] == f"{three[0].pk},{three[1].pk}"
        assert post(root, *three).status_code == 400
        assert usable() == 3

    def test_are_left_when_the_time_is_over(self, root, three, monkeypatch):
        monkeypatch.setattr(staff_verbs, "MOST_SECONDS", 0)
        html = do_to_many(root, KEYS, "revoke", *three)
        assert told(html) == ("1 of 3 api keys: Revoked. There was no time left for 2 api keys: choose them again.")
        assert usable() == 2

    def test_across_pages_are_those_of_the_filters(self, root, three, other):
        keys.revoke_key(three[0], now=timezone.now())
        query = f"?workspace={three[0].membership.workspace_id}&state=usable"
        answer = root.post(
            KEYS + query, {"action": "revoke", "select_across": "1", "_selected_action": [three[1].pk], "index": "0"}
        )
        html = LexborHTMLParser(answer.content.decode())
        assert heading(html) == "Revoke 2 api keys?"
        form = html.css_first("form.confirmation")
        answer = root.post(form.attributes["action"], {"rows": html.css_first("[name=rows]").attributes["value"]})
        assert answer.headers["Location"] == KEYS + query
        assert usable() == 1

    @pytest.mark.parametrize("given", ["", "x", "1,,2", "-1", "1" * 20, "1,2 OR 1=1", "\0"], ids=repr)
    def test_that_no_page_of_ours_names_are_refused(self, root, acme, given):
        assert root.post(BULK, {"rows": given}).status_code == 400

    def test_that_are_named_twice_are_acted_on_once(self, root, acme):
        answer = root.post(BULK, {"rows": f"{acme.row.pk},{acme.row.pk},{'9' * 19}"}, follow=True)
        said = told(LexborHTMLParser(answer.content.decode()))
        assert "1 of 2 api keys: Revoked." in said
        assert staff_verbs.GONE in said

    def test_are_not_acted_on_by_a_link(self, root, three):
        assert root.get(f"{BULK}?rows={three[0].pk}").headers["Location"] == KEYS
        assert usable() == 3

    def test_are_not_acted_on_by_a_form_from_elsewhere(self, three):
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
        assert post(client, *three).status_code == 403
        assert usable() == 3


class TestWho:
    def test_has_no_permission_sees_no_verb_and_does_none(self, acme):
        client = staff(acme.user, "workspaces.view_apikey")
        html = page(client, KEYS)
        assert not html.css("select[name=action], .action-select")
        assert offered_verbs(page(client, f"{KEYS}{acme.row.pk}/change/")) == []
        ask_of_many(client, KEYS, "revoke", acme.row)
        assert post(client, acme.row).status_code == 403
        assert usable() == 1

    def test_may_change_but_not_look_does_none(self, acme):
        """The permission of a verb may be of another model than the rows."""
        client = staff(acme.user, "runs.change_run")
        assert post(client, acme.row).status_code == 403
        assert client.post(f"{KEYS}{acme.row.pk}/revoke/").status_code == 403
        assert usable() == 1

    def test_reaches_no_row_of_another_workspace(self, acme, other):
        client = staff(acme.user, *MAY)
        assert "None of what was chosen is there" in told(asked(client, other.row))
        html = LexborHTMLParser(post(client, other.row, acme.row).content.decode())
        assert "1 of 2 api keys: Revoked." in told(html)
        assert staff_verbs.GONE in told(html)
        assert other.row.prefix not in html.html
        assert ApiKey.objects.get(pk=other.row.pk).revoked_at is None

    def test_has_a_lesser_role_acts_on_ones_own_rows_only(self, acme):
        lesser = member("Acme", "lea@acme.test", role="OPS")
        client = staff(lesser.user, *MAY)
        assert offered_verbs(page(client, f"{KEYS}{acme.row.pk}/change/")) == []
        html = asked(client, acme.row, lesser.row)
        assert heading(html) == "Revoke 1 api key?"
        assert "1 api key left out: your role in their workspace does not allow it." in text(html)
        assert "Your role in their workspace does not allow it" in told(asked(client, acme.row))
        post(client, acme.row, lesser.row)
        assert [row.pk for row in ApiKey.objects.filter(revoked_at=None)] == [acme.row.pk]

    def test_has_not_signed_in_is_asked_to(self, client, acme):
        for path in (BULK, f"{KEYS}{acme.row.pk}/revoke/"):
            assert client.post(path, {"rows": acme.row.pk}).headers["Location"].startswith("/admin/login/")
        assert usable() == 1


class TestSafety:
    def test_names_are_shown_and_not_run(self, root, acme):
        ApiKey.objects.update(name=EVIL)
        User.objects.filter(pk=acme.user.pk).update(username=EVIL)
        again = keys.make_key(acme.membership, name=EVIL)[0]
        for html in (
            asked(root, acme.row, again),
            do_to_many(root, KEYS, "revoke", acme.row),
            LexborHTMLParser(post(root, acme.row, again).content.decode()),
        ):
            assert_harmless(html)
        assert EVIL in text(LexborHTMLParser(post(root, acme.row, again).content.decode()))


class TestCost:
    def test_of_asking_is_the_same_for_three_rows_and_for_thirty(self, root, acme):
        costs = []
        for count in (3, 27):
            made = [keys.make_key(acme.membership)[0] for _ in range(count)]
            with CaptureQueriesContext(connection) as queries:
                asked(root, *made)
            costs.append(len(queries))
        assert costs[0] == costs[1] <= 9

    def test_of_the_buttons_is_one_query(self, acme):
        """Whoever may do nothing is spared it."""
        path, costs = f"{KEYS}{acme.row.pk}/change/", []
        for permissions in (("workspaces.view_apikey",), MAY):
            client = staff(acme.user, *permissions)
            with CaptureQueriesContext(connection) as queries:
                page(client, path)
            costs.append(len(queries))
        assert costs[1] - costs[0] == 1

    def test_of_the_list_is_none(self, root, acme):
        with CaptureQueriesContext(connection) as queries:
            assert len(rows(page(root, KEYS))) == 1
        assert len(queries) <= 5
