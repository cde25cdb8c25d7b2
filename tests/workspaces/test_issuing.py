"""Making a key with a key: what it may give on, and how many there may be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from rest.errors import LimitReached, NoAccess
from tests.factories import Member, member
from workspaces.authentication import Caller
from workspaces.issuing import KeyRequest, issue_key
from workspaces.models import ApiKey, Role, Scope

ALL = frozenset(Scope.values)


def caller(someone: Member, role: Role = Role.ADMIN, scopes: frozenset[str] = ALL) -> Caller:
    return Caller(someone.row, someone.user, someone.workspace, role, scopes)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("of_caller", "of_member", "asked", "given"),
    [
        (Role.ADMIN, "ADMIN", Role.ADMIN, "ADMIN"),
        (Role.ADMIN, "ADMIN", Role.USER, "USER"),
        (Role.ADMIN, "OPS", None, "OPS"),
        (Role.ADMIN, "OPS", Role.ADMIN, None),
        (Role.OPS, "ADMIN", None, "OPS"),
        (Role.OPS, "ADMIN", Role.ADMIN, None),
        (Role.OPS, "USER", Role.OPS, None),
        (Role.USER, "ADMIN", Role.USER, "USER"),
    ],
)
def test_a_role_is_at_most_the_callers_and_the_members(
    of_caller: Role, of_member: str, asked: Role | None, given: str | None
) -> None:
    someone = member(email="bob@acme.test", role=of_member)
    by, request = caller(member(), role=of_caller), KeyRequest(role=asked, user_uid=someone.user.uid)
    if given:
        row, _ = issue_key(request, by=by)
        assert (row.role, row.membership) == (given, someone.membership)
    else:
        with pytest.raises(NoAccess, match="role: ") as refused:
            issue_key(request, by=by)
        assert refused.value.params["highest"] in (of_caller, of_member)


@pytest.mark.django_db
def test_scopes_are_at_most_the_callers() -> None:
    by = caller(member(), scopes=frozenset({"manage", "read"}))
    assert issue_key(KeyRequest(), by=by)[0].scopes == ["manage", "read"]
    assert issue_key(KeyRequest(scopes=["read", "read"]), by=by)[0].scopes == ["read"]
    with pytest.raises(NoAccess, match="scopes: run cannot be given on"):
        issue_key(KeyRequest(scopes=["run"]), by=by)


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_no_more_are_made_than_may_be(settings: Any) -> None:
    settings.RUNYARD_MAX_API_KEYS = 3
    by = caller(member())

    def issue(_: int) -> bool:
        try:
            issue_key(KeyRequest(), by=by)
        except LimitReached:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(issue, range(8))) == 2
    assert ApiKey.objects.count() == 3
