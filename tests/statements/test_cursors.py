"""Rows that are read in binary."""

from __future__ import annotations

import pytest
from django.db import connection

from statements.cursors import binary_rows

pytestmark = pytest.mark.django_db


def test_rows_come_as_they_were_stored() -> None:
    pack = bytes(range(256))
    stored = 'SELECT %s::bytea, %s::bigint, \'{"b": 1, "a": null}\'::json, NULL'
    assert binary_rows(stored, [pack, 2**40]) == [(pack, 2**40, {"b": 1, "a": None}, None)]
    assert binary_rows("SELECT %(n)s::int WHERE %(n)s > 1", {"n": 1, "unused": 2}) == []
    assert binary_rows("SELECT n FROM unnest(%s::bigint[]) AS n ORDER BY n", [[3, 2**40, 1]]) == [(1,), (3,), (2**40,)]


def test_they_are_prepared() -> None:
    for n in range(10):
        assert binary_rows("SELECT %s::int AS prepared_here", [n]) == [(n,)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%AS prepared_here'")
        assert cursor.fetchone() == (1,)
