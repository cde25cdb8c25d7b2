"""Querysets that are put together once find what they would find each time."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from statements.compiled import Compiled, Parameter
from tests.factories import Member
from workspaces import keys
from workspaces.models import ApiKey, IdempotencyKey

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
OF_NAME = Compiled(
    lambda: (
        ApiKey.objects.usable(Parameter("now"))
        .filter(name=Parameter("name"), role="ADMIN")
        .select_related("membership__user", "membership__workspace")
        .order_by("pk")
    )
)
ODD = Compiled(lambda: ApiKey.objects.filter(name="100 % 'of' \"%s\"", role=Parameter("role")))


@pytest.fixture
def stored(acme: Member, other: Member) -> list[ApiKey]:
    return [
        keys.make_key(member, name=name, role="ADMIN", expires_at=ends)[0]
        for member, name, ends in (
            (acme.membership, "a", NOW + timedelta(seconds=1)),
            (other.membership, "a", None),
            (other.membership, "a", NOW),
            (other.membership, "100 % 'of' \"%s\"", None),
        )
    ]


def test_rows_are_those_of_the_queryset(stored: list[ApiKey]) -> None:
    for now, found in ((NOW, stored[:2]), (NOW + timedelta(hours=1), stored[1:2]), (NOW - timedelta(1), stored[:3])):
        assert list(OF_NAME.rows(name="a", now=now)) == found
        assert OF_NAME.first(name="a", now=now) == found[0]
        assert OF_NAME.count(name="a", now=now) == len(found)
    assert OF_NAME.first(name="b", now=NOW) is None
    assert OF_NAME.count(name="b", now=NOW) == 0


def test_a_row_is_whole_with_those_it_refers_to(stored: list[ApiKey], other: Member) -> None:
    one = OF_NAME.first(name="a", now=NOW + timedelta(hours=1))
    expected = ApiKey.objects.select_related("membership__user", "membership__workspace").get(pk=stored[1].pk)
    assert one
    with CaptureQueriesContext(connection) as asked:
        assert (one.membership.user, one.membership.workspace) == (other.user, other.workspace)
        for mine, theirs in ((one, expected), (one.membership, expected.membership), (one.membership.user, other.user)):
            names = [field.attname for field in mine._meta.concrete_fields]
            assert [getattr(mine, name) for name in names] == [getattr(theirs, name) for name in names]
    assert not asked.captured_queries
    assert one._state.adding is False
    one.name = "changed"
    one.save(update_fields=["name"])
    assert ApiKey.objects.get(pk=one.pk).name == "changed"


def test_values_of_all_kinds_are_those_of_the_queryset(acme: Member) -> None:
    told = {"Location": "/v1/runs/1", "n": [1]}
    values = {
        "body_hash": b"\0\xff",
        "stored_uid": uuid.uuid4(),
        "status_code": 202,
        "headers": told,
        "created_at": NOW,
    }
    IdempotencyKey.objects.create(membership=acme.membership, endpoint="x", key="k", **values)
    one = Compiled(lambda: IdempotencyKey.objects.filter(key=Parameter("key"))).first(key="k")
    assert {name: getattr(one, name) for name in values} == values


def test_what_it_compares_with_is_part_of_the_statement(stored: list[ApiKey]) -> None:
    assert list(ODD.rows(role="ADMIN")) == stored[3:]
    with CaptureQueriesContext(connection) as asked:
        ODD.count(role="x' OR '1' = '1")
    assert "OR '1'" not in asked.captured_queries[0]["sql"]
    assert "100 % ''of''" in asked.captured_queries[0]["sql"]


def test_it_is_prepared(stored: list[ApiKey]) -> None:
    for _ in range(10):
        OF_NAME.count(name="a", now=NOW)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%workspaces_apikey%%'")
        assert cursor.fetchone() == (1,)


def test_what_is_prepared_is_in_the_log_of_queries(stored: list[ApiKey]) -> None:
    for _ in range(10):
        OF_NAME.count(name="a", now=NOW)
    with CaptureQueriesContext(connection) as asked:
        OF_NAME.count(name="a", now=NOW)
    assert "workspaces_apikey" in asked.captured_queries[0]["sql"]
