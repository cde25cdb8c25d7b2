"""Keys: random, stored as a hash and nowhere as themselves, usable until they expire or are revoked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.factories import Api, Member, member
from workspaces import keys
from workspaces.models import ApiKey, Membership, Role, User, Workspace

pytestmark = pytest.mark.django_db


def everything_stored() -> str:
    """Return the text of every row of every table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = []
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT "{table}"::text FROM "{table}"')
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)


def test_a_key_is_stored_nowhere(acme: Member) -> None:
    Api(acme.key).get("/v1/runs")
    Api(acme.key).get("/v1/runs", Authorization=f"Bearer {acme.key}")
    stored = everything_stored()
    assert keys.hash_key(acme.key) in stored
    assert acme.key not in stored
    assert acme.key[10:20] not in stored


def test_what_is_kept_of_a_key(acme: Member) -> None:
    assert acme.key.startswith("ry_")
    assert len(acme.key) == 46
    row = ApiKey.objects.get()
    assert row.prefix == acme.key[:10]
    assert (row.role, row.scopes, row.expires_at, row.revoked_at) == ("ADMIN", ["manage", "read", "run"], None, None)
    assert keys.make_key(acme.membership)[1] != acme.key


@pytest.mark.parametrize("change", ["", "x", "upper", "space", "half"])
def test_only_the_key_itself_is_found(acme: Member, change: str) -> None:
    sent = {"": "", "x": acme.key + "x", "upper": acme.key.upper(), "space": f" {acme.key}", "half": acme.key[:10]}[
        change
    ]
    assert keys.find_key(sent, now=timezone.now()) is None
    assert keys.find_key(acme.key, now=timezone.now()) == acme.row


def test_a_key_expires(acme: Member) -> None:
    now = timezone.now()
    row, key = keys.make_key(acme.membership, expires_at=now + timedelta(hours=1))
    assert keys.find_key(key, now=now + timedelta(minutes=59)) == row
    assert keys.find_key(key, now=now + timedelta(hours=1)) is None


def test_a_key_is_revoked_once(acme: Member) -> None:
    now = timezone.now()
    assert keys.revoke_key(acme.row, now=now) is True
    assert keys.revoke_key(acme.row, now=now) is False
    assert keys.find_key(acme.key, now=now) is None


def test_a_user_who_is_switched_off_has_no_keys(acme: Member) -> None:
    User.objects.update(is_active=False)
    assert keys.find_key(acme.key, now=timezone.now()) is None


def test_use_is_noted_to_the_minute(acme: Member, django_assert_num_queries: object) -> None:
    now = timezone.now().replace(second=30, microsecond=5)
    keys.note_use(acme.row, now=now)
    row = ApiKey.objects.get()
    assert row.last_used_at == now.replace(second=0, microsecond=0)
    with django_assert_num_queries(0):  # type: ignore[operator]
        keys.note_use(row, now=now + timedelta(seconds=20))
    keys.note_use(row, now=now + timedelta(minutes=2))
    row.refresh_from_db()
    assert row.last_used_at == now.replace(second=0, microsecond=0) + timedelta(minutes=2)
    keys.note_use(acme.row, now=now)  # a slower request of a minute before
    row.refresh_from_db()
    assert row.last_used_at == now.replace(second=0, microsecond=0) + timedelta(minutes=2)


@pytest.mark.parametrize(
    ("one", "other", "lower"),
    [("ADMIN", "ADMIN", "ADMIN"), ("ADMIN", "OPS", "OPS"), ("USER", "OPS", "USER"), ("USER", "ADMIN", "USER")],
)
def test_of_two_roles_the_one_that_allows_less(one: str, other: str, lower: str) -> None:
    assert keys.lower_role(one, other) == keys.lower_role(other, one) == Role(lower)


def test_a_member_is_made_with_whatever_is_missing(db: None) -> None:
    first = keys.ensure_membership(workspace_name="Acme", email="Ada@acme.test")
    assert (first.role, first.user.username, first.user.has_usable_password()) == ("ADMIN", "Ada@acme.test", False)
    assert keys.ensure_membership(workspace_name="ACME", email="ada@ACME.test") == first
    second = keys.ensure_membership(workspace_name="Globex", email="ada@acme.test", role="USER")
    assert (second.user, second.role) == (first.user, "USER")
    assert (Workspace.objects.count(), User.objects.count(), Membership.objects.count()) == (2, 1, 2)


def test_a_members_role_is_raised_and_never_lowered(db: None) -> None:
    for role, expected in [("USER", "USER"), ("OPS", "OPS"), ("USER", "OPS"), (None, "OPS"), ("ADMIN", "ADMIN")]:
        membership = keys.ensure_membership(workspace_name="Acme", email="a@b.test", role=role)
        membership.refresh_from_db()
        assert membership.role == expected


@pytest.mark.parametrize("changes", [{"role": "ROOT"}, {"scopes": ["read", "write"]}, {"key_hash": None}])
def test_the_database_itself_refuses_what_is_unknown(acme: Member, changes: dict[str, object]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.update(**changes)


def test_two_workspaces_of_one_name_are_refused(acme: Member) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Workspace.objects.create(name="aCME")
    assert member("Acme ", "x@y.test").workspace != acme.workspace
