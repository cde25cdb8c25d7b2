from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import Api, Member, member
from tests.staff import EVIL, assert_harmless, field_of, page, rows, staff, superuser, text
from workspaces import keys
from workspaces.models import ApiKey, Membership, Role, User, Workspace

pytestmark = pytest.mark.django_db

KEYS, MEMBERS = "/admin/workspaces/apikey/", "/admin/workspaces/membership/"
USERS, WORKSPACES = "/admin/workspaces/user/", "/admin/workspaces/workspace/"
LISTS = [KEYS, MEMBERS, USERS, WORKSPACES, "/admin/auth/group/"]
EXPIRES = {"expires_at_0": "", "expires_at_1": ""}


@pytest.fixture
def root(db: None) -> Client:
    return superuser()


@pytest.fixture
def globex(db: None) -> Member:
    """A member of another workspace."""
    return member("Globex", "hank@globex.test")


def add(client: Client, path: str, **fields: Any) -> Any:
    return client.post(f"{path}add/", fields)


def make_key(client: Client, whose: Member, **fields: Any) -> Any:
    asked = {"membership": whose.membership.pk, "name": "new", "role": "", "scopes": ["read", "run"], **EXPIRES}
    return add(client, KEYS, **(asked | fields))


def key_in(response: Any) -> str:
    assert response.status_code == 200, response.headers
    (key,) = re.findall(r"ry_[\w-]{43}", response.content.decode())
    return str(key)


class TestMakingAKey:
    def test_shows_one_that_works(self, root, acme):
        api = Api(key_in(make_key(root, acme)))
        assert api.get("/v1/actions").status_code == 200
        made = ApiKey.objects.get(name="new")
        assert (made.membership, made.role, made.scopes) == (acme.membership, Role.ADMIN, ["read", "run"])

    def test_shows_it_once(self, root, acme):
        key = key_in(make_key(root, acme))
        made = ApiKey.objects.get(name="new")
        for path in (KEYS, f"{KEYS}{made.pk}/change/", f"{KEYS}{made.pk}/history/", "/admin/", f"{KEYS}add/"):
            assert key not in root.get(path).content.decode()

    def test_keeps_nothing_of_it_but_a_hash(self, root, acme, caplog):
        caplog.set_level("DEBUG")
        response = make_key(root, acme)
        key = key_in(response)
        assert key not in caplog.text
        assert not any(key in str(cookie) for cookie in response.cookies.values())
        assert not any(key in str(session.get_decoded()) for session in Session.objects.all())
        with connection.cursor() as cursor:
            for table in connection.introspection.table_names():
                cursor.execute(f'SELECT count(*) FROM "{table}" AS rows WHERE strpos(rows::text, %s) > 0', [key])
                assert cursor.fetchone() == (0,), table

    def test_is_an_answer_that_nobody_stores(self, root, acme):
        kept = make_key(root, acme).headers["Cache-Control"]
        assert {"no-store", "private"} <= set(kept.split(", "))

    def test_is_written_down_with_who_did_it(self, root, acme):
        make_key(root, acme)
        (entry,) = LogEntry.objects.all()
        assert (entry.user.username, entry.object_id) == ("root", str(ApiKey.objects.get(name="new").pk))

    def test_carries_what_was_asked_for(self, root, acme):
        expires = timezone.now() + timedelta(days=2)
        given = {"expires_at_0": f"{expires:%Y-%m-%d}", "expires_at_1": f"{expires:%H:%M:%S}"}
        key_in(make_key(root, acme, role="USER", scopes=["read"], **given))
        made = ApiKey.objects.get(name="new")
        assert (made.role, made.scopes) == ("USER", ["read"])
        assert made.expires_at == expires.replace(microsecond=0)

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "has passed"),
            ({"scopes": []}, "required"),
            ({"scopes": ["everything"]}, "not one of the available choices"),
            ({"role": "KING"}, "not one of the available choices"),
            ({"membership": "999999"}, "not one of the available choices"),
            ({"membership": "x"}, "not one of the available choices"),
            ({"name": "\0"}, "Null characters"),
            ({"name": "n" * 256}, "at most 255"),
        ],
        ids=["expired", "no scope", "unknown scope", "unknown role", "nobody", "no number", "NUL", "long name"],
    )
    def test_refuses_what_cannot_be(self, root, acme, fields, told):
        response = make_key(root, acme, **fields)
        assert told in response.content.decode()
        assert not ApiKey.objects.filter(name="new").exists()

    def test_starts_from_an_empty_form_whatever_the_link_says(self, root, acme):
        link = {"membership": acme.membership.pk, "name": "mine", "role": "ADMIN", "expires_at": "x"}
        html = page(root, f"{KEYS}add/", **link)
        assert not html.css("#id_membership option[selected][value]:not([value=''])")
        assert not html.css_first("#id_name").attributes.get("value")

    def test_refuses_a_role_above_the_members(self, root, db):
        ops = member("Acme", "olaf@acme.test", role="OPS")
        assert "a key cannot carry more" in make_key(root, ops, role="ADMIN").content.decode()
        assert ApiKey.objects.count() == 1

    def test_shows_a_hostile_name_as_text(self, root, acme):
        key_in(make_key(root, acme, name=EVIL))
        made = ApiKey.objects.get(name=EVIL)
        for path in (KEYS, f"{KEYS}{made.pk}/change/", f"{KEYS}{made.pk}/revoke/", f"{KEYS}{made.pk}/history/"):
            assert_harmless(page(root, path))
        assert EVIL in text(page(root, f"{KEYS}{made.pk}/revoke/"))

    @pytest.mark.parametrize("token", ["", "x"], ids=["none", "wrong"])
    def test_takes_no_form_from_elsewhere(self, acme, token):
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
        assert make_key(client, acme, csrfmiddlewaretoken=token).status_code == 403


class TestAKey:
    def test_is_read_only_and_without_its_hash(self, root, acme):
        html = page(root, f"{KEYS}{acme.row.pk}/change/")
        assert acme.row.key_hash not in html.html
        assert not html.css("#apikey_form input:not([type=hidden]), #apikey_form select, #apikey_form textarea")
        response = root.post(f"{KEYS}{acme.row.pk}/change/", {"role": "USER", "key_hash": "0" * 64})
        assert response.status_code == 403
        assert root.post(f"{KEYS}{acme.row.pk}/delete/", {"post": "yes"}).status_code == 403

    def test_is_revoked_by_a_confirmed_post_alone(self, root, acme):
        path = f"{KEYS}{acme.row.pk}/revoke/"
        assert page(root, f"{KEYS}{acme.row.pk}/change/").css_first(f"a[href='{path}']")
        page(root, path)
        assert Api(acme.key).get("/v1/actions").status_code == 200
        assert root.post(path).status_code == 302
        assert Api(acme.key).get("/v1/actions").status_code == 401
        assert LogEntry.objects.get().change_message == "Revoked."
        assert not page(root, f"{KEYS}{acme.row.pk}/change/").css_first(f"a[href='{path}']")

    def test_is_revoked_once(self, root, acme):
        path = f"{KEYS}{acme.row.pk}/revoke/"
        root.post(path)
        revoked_at = ApiKey.objects.get().revoked_at
        assert "was revoked before" in root.post(path, follow=True).content.decode()
        assert ApiKey.objects.get().revoked_at == revoked_at

    def test_is_not_revoked_by_a_form_from_elsewhere(self, acme):
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
        assert client.post(f"{KEYS}{acme.row.pk}/revoke/").status_code == 403
        assert ApiKey.objects.get().revoked_at is None

    @pytest.mark.parametrize("state", ["usable", "revoked", "expired", "user inactive"])
    def test_says_whether_it_opens_the_door(self, root, acme, state):
        past = timezone.now() - timedelta(days=1)
        if state == "revoked":
            ApiKey.objects.update(revoked_at=past)
        if state == "expired":
            ApiKey.objects.update(expires_at=past)
        if state == "user inactive":
            User.objects.filter(pk=acme.user.pk).update(is_active=False)
        assert state in rows(page(root, KEYS))[0]
        assert len(rows(page(root, KEYS, state="usable"))) == (state == "usable")
        assert len(rows(page(root, KEYS, state="unusable"))) == (state != "usable")

    @pytest.mark.parametrize("query", ["ry_", "laptop", "ada", "ADA@ACME", "acm"])
    def test_is_found(self, root, acme, query):
        ApiKey.objects.update(name="Laptop")
        assert len(rows(page(root, KEYS, q=query))) == 1
        assert not rows(page(root, KEYS, q="nothing"))


PERMISSIONS = [
    f"workspaces.{verb}_{model}"
    for verb in ("view", "add", "change", "delete")
    for model in ("apikey", "membership", "workspace", "user")
] + ["auth.view_group", "auth.change_group"]


class TestScope:
    def test_staff_see_their_workspaces_rows(self, acme, globex):
        client = staff(acme.user, *PERMISSIONS)
        for path in (KEYS, MEMBERS, USERS, WORKSPACES):
            html = page(client, path)
            assert len(rows(html)) == 1, path
            assert "hank" not in text(html)
            assert "Globex" not in text(html)

    def test_staff_reach_no_other_workspaces_rows(self, acme, globex):
        client = staff(acme.user, *PERMISSIONS)
        for path, row in (
            (KEYS, globex.row),
            (MEMBERS, globex.membership),
            (USERS, globex.user),
            (WORKSPACES, globex.workspace),
        ):
            assert client.get(f"{path}{row.pk}/change/").headers["Location"] == "/admin/", path
        assert client.post(f"{KEYS}{globex.row.pk}/revoke/").headers["Location"] == "/admin/"
        assert client.post(f"{MEMBERS}{globex.membership.pk}/delete/", {"post": "yes"}).status_code == 302
        assert Membership.objects.filter(pk=globex.membership.pk).exists()
        assert ApiKey.objects.get(pk=globex.row.pk).revoked_at is None

    def test_staff_make_keys_for_their_members_only(self, acme, globex):
        client = staff(acme.user, *PERMISSIONS)
        assert "available choices" in make_key(client, globex).content.decode()
        key_in(make_key(client, acme))

    def test_staff_add_members_to_their_workspaces_only(self, acme, globex):
        client = staff(acme.user, *PERMISSIONS)
        response = add(client, MEMBERS, user=acme.user.pk, workspace=globex.workspace.pk, role="ADMIN")
        assert "available choices" in response.content.decode()
        assert Membership.objects.filter(user=acme.user).count() == 1

    def test_staff_are_offered_their_rows_only(self, acme, globex):
        client = staff(acme.user, *PERMISSIONS)
        assert offered(client, "membership", "user") == ["ada@acme.test"]
        asked = {"app_label": "workspaces", "model_name": "membership", "field_name": "user"}
        assert client.get("/admin/autocomplete/", asked | {"term": "\0"}).json()["results"] == []

    def test_staff_raise_nobody(self, acme):
        client = staff(acme.user, *PERMISSIONS)
        html = page(client, f"{USERS}{acme.user.pk}/change/")
        assert not html.css("#user_form input:not([type=hidden])")
        assert "pbkdf2" not in html.html
        assert client.post(f"{USERS}{acme.user.pk}/change/", {"is_superuser": "on"}).status_code == 403
        assert client.post(f"{USERS}{acme.user.pk}/password/", {}).status_code == 403
        assert client.get(f"{USERS}add/").status_code == 403
        assert client.get("/admin/auth/group/add/").status_code == 403
        assert not User.objects.filter(is_superuser=True).exists()

    @pytest.mark.parametrize("path", LISTS)
    def test_staff_without_the_permission_are_refused(self, acme, path):
        assert staff(acme.user, "actions.view_action").get(path).status_code == 403

    @pytest.mark.parametrize("path", LISTS)
    def test_strangers_are_asked_to_sign_in(self, client, path):
        assert client.get(path).headers["Location"] == f"/admin/login/?next={path}"

    def test_viewing_keys_is_neither_making_nor_revoking_them(self, acme):
        client = staff(acme.user, "workspaces.view_apikey")
        assert len(rows(page(client, KEYS))) == 1
        assert client.get(f"{KEYS}add/").status_code == 403
        assert make_key(client, acme).status_code == 403
        assert not page(client, f"{KEYS}{acme.row.pk}/change/").css_first("a[href$='/revoke/']")
        assert client.get(f"{KEYS}{acme.row.pk}/revoke/").status_code == 403
        assert client.post(f"{KEYS}{acme.row.pk}/revoke/").status_code == 403


def offered(client: Client, model: str, field: str) -> list[str]:
    """Return what the form of a `model` offers for a field as one types."""
    asked = {"app_label": "workspaces", "model_name": model, "field_name": field, "term": ""}
    return [one["text"] for one in client.get("/admin/autocomplete/", asked).json()["results"]]


class TestManaging:
    """Staff with every permission, who are no superusers, have the powers that their role gives them in the API."""

    @pytest.fixture(params=["USER", "OPS"])
    def lesser(self, request: pytest.FixtureRequest, acme: Member) -> Member:
        """Another member of Acme, who is no ADMIN."""
        return member("Acme", "lea@acme.test", role=request.param)

    @pytest.fixture
    def elsewhere(self, globex: Member, lesser: Member) -> Client:
        """The browser of that member, who is an ADMIN of Globex."""
        keys.ensure_membership(workspace_name="Globex", email=lesser.user.email)
        return staff(lesser.user, *PERMISSIONS)

    def test_of_nothing_makes_no_key(self, acme, lesser):
        client = staff(lesser.user, *PERMISSIONS)
        for whose in (acme, lesser):
            assert make_key(client, whose).status_code == 403
        assert client.get(f"{KEYS}add/").status_code == 403
        assert not ApiKey.objects.filter(name="new").exists()

    def test_of_one_workspace_makes_no_key_of_another(self, acme, globex, lesser, elsewhere):
        for whose in (acme, lesser):
            assert "available choices" in make_key(elsewhere, whose).content.decode()
        assert not ApiKey.objects.filter(name="new").exists()
        key_in(make_key(elsewhere, globex))

    def test_of_nothing_adds_no_member(self, acme, lesser):
        client = staff(lesser.user, *PERMISSIONS)
        given = {"user": lesser.user.pk, "workspace": acme.workspace.pk, "role": "ADMIN"}
        assert add(client, MEMBERS, **given).status_code == 403

    def test_of_one_workspace_adds_no_member_to_another(self, acme, globex, elsewhere):
        given = {"user": globex.user.pk, "role": "ADMIN"}
        response = add(elsewhere, MEMBERS, **given, workspace=acme.workspace.pk)
        assert "available choices" in response.content.decode()
        assert not Membership.objects.filter(user=globex.user, workspace=acme.workspace).exists()

    def test_is_offered_what_it_may_choose(self, acme, globex, elsewhere):
        assert offered(elsewhere, "membership", "workspace") == ["Globex"]
        assert len(offered(elsewhere, "apikey", "membership")) == 2
        assert all("in Globex" in text for text in offered(elsewhere, "apikey", "membership"))
        assert len(rows(page(elsewhere, MEMBERS))) == 4

    def test_of_another_workspace_changes_no_member(self, acme, lesser, elsewhere):
        for one in (acme.membership, lesser.membership):
            path = f"{MEMBERS}{one.pk}/"
            assert not page(elsewhere, f"{path}change/").css("#membership_form select")
            assert elsewhere.post(f"{path}change/", {"role": "ADMIN"}).status_code == 403
            assert elsewhere.post(f"{path}delete/", {"post": "yes"}).status_code == 403
            assert delete_selected(elsewhere, one).status_code == 403
            assert Membership.objects.get(pk=one.pk).role == one.role

    def test_changes_and_removes_members(self, acme, lesser):
        client = staff(acme.user, *PERMISSIONS)
        path = f"{MEMBERS}{lesser.membership.pk}/"
        client.post(f"{path}change/", {"role": "ADMIN"})
        assert Membership.objects.get(pk=lesser.membership.pk).role == "ADMIN"
        delete_selected(client, lesser.membership)
        assert not Membership.objects.filter(pk=lesser.membership.pk).exists()

    def test_leaves_ones_own_membership_alone(self, acme, lesser):
        client = staff(acme.user, *PERMISSIONS)
        path = f"{MEMBERS}{acme.membership.pk}/"
        assert client.post(f"{path}change/", {"role": "USER"}).status_code == 403
        assert client.post(f"{path}delete/", {"post": "yes"}).status_code == 403
        assert delete_selected(client, acme.membership, lesser.membership).status_code == 403
        assert Membership.objects.filter(workspace=acme.workspace).count() == 2
        assert Membership.objects.get(pk=acme.membership.pk).role == "ADMIN"

    def test_is_asked_of_superusers_nowhere(self, root, acme):
        superuser = User.objects.get(username="root")
        own = Membership.objects.create(user=superuser, workspace=acme.workspace, role="USER")
        assert root.post(f"{MEMBERS}{own.pk}/change/", {"role": "ADMIN"}).status_code == 302
        assert Membership.objects.get(pk=own.pk).role == "ADMIN"

    def test_of_another_workspace_revokes_ones_own_keys_only(self, acme, lesser, elsewhere):
        path = f"{KEYS}{acme.row.pk}/"
        assert not page(elsewhere, f"{path}change/").css_first("a[href$='/revoke/']")
        for method in (elsewhere.get, elsewhere.post):
            assert method(f"{path}revoke/").status_code == 403
        assert Api(acme.key).get("/v1/actions").status_code == 200
        assert page(elsewhere, f"{KEYS}{lesser.row.pk}/change/").css_first("a[href$='/revoke/']")
        elsewhere.post(f"{KEYS}{lesser.row.pk}/revoke/")
        assert Api(lesser.key).get("/v1/actions").status_code == 401

    def test_revokes_members_keys(self, acme, lesser):
        staff(acme.user, *PERMISSIONS).post(f"{KEYS}{lesser.row.pk}/revoke/")
        assert Api(lesser.key).get("/v1/actions").status_code == 401


def delete_selected(client: Client, *members: Membership) -> Any:
    chosen = [one.pk for one in members]
    return client.post(MEMBERS, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})


class TestMembers:
    def test_are_made(self, root, acme, globex):
        add(root, MEMBERS, user=globex.user.pk, workspace=acme.workspace.pk, role="OPS")
        assert Membership.objects.get(user=globex.user, workspace=acme.workspace).role == "OPS"

    def test_change_their_role_and_nothing_else(self, root, acme, globex):
        path = f"{MEMBERS}{acme.membership.pk}/change/"
        given = {"role": "USER", "workspace": globex.workspace.pk, "user": globex.user.pk}
        assert root.post(path, given).status_code == 302
        changed = Membership.objects.get(pk=acme.membership.pk)
        assert (changed.role, changed.workspace, changed.user) == ("USER", acme.workspace, acme.user)

    def test_leave_with_their_keys(self, root, acme):
        path = f"{MEMBERS}{acme.membership.pk}/delete/"
        assert "API keys: 1" in page(root, path).css_first("#content").text(separator="")
        root.post(path, {"post": "yes"})
        assert Api(acme.key).get("/v1/actions").status_code == 401
        assert User.objects.filter(pk=acme.user.pk).exists()

    def test_are_no_members_twice(self, root, acme):
        response = add(root, MEMBERS, user=acme.user.pk, workspace=acme.workspace.pk, role="OPS")
        assert "already exists" in response.content.decode()


class TestUsers:
    def test_are_made_with_a_password_that_works(self, root):
        password = "correct horse battery"
        given = {"username": "grace", "email": "g@acme.test", "usable_password": "true"}
        add(root, USERS, **given, password1=password, password2=password)
        made = User.objects.get(username="grace")
        assert made.check_password(password)
        assert (made.email, made.is_staff, made.is_superuser) == ("g@acme.test", False, False)
        assert made.uid

    def test_have_a_password_that_is_never_shown_and_set_anew(self, root, acme):
        acme.user.set_password("first password of ada")
        acme.user.save()
        html = page(root, f"{USERS}{acme.user.pk}/change/")
        assert acme.user.password not in html.html
        assert acme.user.password.rsplit("$", 1)[1] not in html.html
        given = {"usable_password": "true", "password1": "another horse", "password2": "another horse"}
        root.post(f"{USERS}{acme.user.pk}/password/", given)
        assert User.objects.get(pk=acme.user.pk).check_password("another horse")

    def test_are_switched_off_and_not_deleted(self, root, acme):
        assert root.post(f"{USERS}{acme.user.pk}/delete/", {"post": "yes"}).status_code == 403
        html = page(root, f"{USERS}{acme.user.pk}/change/")
        given = {
            one.attributes["name"]: one.attributes.get("value") or ""
            for one in html.css("#user_form input[name]")
            if one.attributes.get("type") != "checkbox" and one.attributes["name"] != "_continue"
        }
        assert root.post(f"{USERS}{acme.user.pk}/change/", given).status_code == 302
        assert not User.objects.get(pk=acme.user.pk).is_active
        assert Api(acme.key).get("/v1/actions").status_code == 401

    def test_are_not_looked_up_by_their_password(self, root):
        assert root.get(f"{USERS}?password__startswith=pbkdf2").status_code == 400


class TestWorkspaces:
    def test_are_made_and_renamed(self, root):
        add(root, WORKSPACES, name="Initech")
        made = Workspace.objects.get()
        root.post(f"{WORKSPACES}{made.pk}/change/", {"name": "Initrode"})
        assert Workspace.objects.get().name == "Initrode"

    def test_have_a_name_of_their_own(self, root, acme):
        assert "There is a workspace of this name" in add(root, WORKSPACES, name="aCME").content.decode()
        assert root.post(f"{WORKSPACES}{acme.workspace.pk}/change/", {"name": "ACME"}).status_code == 302

    def test_are_not_deleted(self, root, acme):
        assert root.post(f"{WORKSPACES}{acme.workspace.pk}/delete/", {"post": "yes"}).status_code == 403

    def test_lead_to_what_they_hold(self, root, acme, globex):
        html = page(root, f"{WORKSPACES}{acme.workspace.pk}/change/")
        links = [one.attributes["href"] for one in field_of(html, "What it holds").css("a")]
        assert len(links) == 3
        found = [rows(page(root, link)) for link in links]
        assert [len(some) for some in found] == [0, 1, 1]
        assert all("Acme" in some[0] for some in found[1:])

    def test_have_names_that_are_shown_and_not_run(self, root, acme):
        Workspace.objects.update(name=EVIL)
        User.objects.filter(pk=acme.user.pk).update(username=EVIL, email=EVIL, first_name=EVIL[:150])
        ApiKey.objects.update(name=EVIL)
        Group.objects.create(name=EVIL)
        for path in (*LISTS, "/admin/runs/run/"):
            assert_harmless(page(root, path))
        pages = [(KEYS, acme.row), (MEMBERS, acme.membership), (USERS, acme.user), (WORKSPACES, acme.workspace)]
        for path, row in pages:
            html = page(root, f"{path}{row.pk}/change/")
            assert_harmless(html)
            assert EVIL in text(html) or EVIL in [one.attributes.get("value") for one in html.css("input")], path


class TestCost:
    @pytest.mark.parametrize("path", LISTS)
    def test_is_the_same_for_three_rows_and_for_thirty(self, root, path):
        costs = []
        for start, end in ((0, 2), (2, 30)):
            for n in range(start, end):
                member(f"W{n}", f"m{n}@acme.test")
                Group.objects.create(name=f"g{n}")
            with CaptureQueriesContext(connection) as queries:
                html = page(root, path)
            costs.append(len(queries))
        assert len(rows(html)) >= 30
        assert costs[0] == costs[1] <= 7

    def test_of_a_page_is_bounded(self, root, acme):
        for path, row in ((KEYS, acme.row), (MEMBERS, acme.membership), (WORKSPACES, acme.workspace)):
            with CaptureQueriesContext(connection) as queries:
                page(root, f"{path}{row.pk}/change/")
            assert len(queries) <= 8, path

    @pytest.mark.parametrize("query", ["?q=%00", "?p=99999999", "?role__exact=x", "?state=%00", "?e=1", "?workspace=x"])
    @pytest.mark.parametrize("path", LISTS)
    def test_a_malformed_query_is_no_defect(self, root, path, query):
        assert root.get(path + query, follow=True).status_code in {200, 400}

    @pytest.mark.parametrize("path", LISTS)
    def test_an_unknown_row_leads_home(self, root, path):
        assert root.get(f"{path}999999/change/").headers["Location"] == "/admin/"


def test_a_member_without_any_key_counts_none(root, acme):
    keys.revoke_key(acme.row, now=timezone.now())
    ApiKey.objects.all().delete()
    assert "API keys: 0" in page(root, f"{MEMBERS}{acme.membership.pk}/delete/").css_first("#content").text(
        separator=""
    )
