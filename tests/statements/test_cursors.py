"""Rows that are read in binary, and cursors that are kept."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from statements.cursors import MOST_HELD_BYTES, binary_cursor, binary_rows, numbered_cursor, prepared_cursor

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


def test_a_kept_cursor_tells_what_it_was_asked_last() -> None:
    with prepared_cursor() as text, binary_cursor() as binary, numbered_cursor() as numbered:
        text.execute("SELECT %s::int, 'a'", [1])
        binary.execute("SELECT %(b)s::bytea", {"b": b"\0\xff"})
        numbered.execute("SELECT $2::int - $1::int", [1, 3])
        assert (text.fetchall(), binary.fetchall(), numbered.fetchall()) == ([(1, "a")], [(b"\0\xff",)], [(2,)])
    with prepared_cursor() as text:
        text.execute("SELECT n FROM generate_series(1, 3) AS n")
        assert text.fetchone() == (1,)
    with prepared_cursor() as text:
        text.execute("SELECT 4 WHERE false")
        assert (text.fetchall(), text.rowcount) == ([], 0)


@pytest.mark.parametrize("kind", [prepared_cursor, binary_cursor, numbered_cursor])
def test_one_cursor_of_a_kind_is_kept_with_its_connection(kind: Any) -> None:
    with kind() as one:
        one.execute("SELECT 1")
    with kind() as other:
        assert other.cursor is one.cursor
        with pytest.raises(DatabaseError), transaction.atomic():
            other.execute("SELECT 1 / 0")
    with kind() as after:
        after.execute("SELECT 2")
        assert after.fetchone() == (2,)


@pytest.mark.django_db(transaction=True)
def test_a_new_connection_has_cursors_of_its_own() -> None:
    with prepared_cursor() as old:
        old.execute("SELECT 1")
    connection.close()
    with prepared_cursor() as new:
        new.execute("SELECT 2")
        assert (new.fetchone(), new.cursor is old.cursor) == ((2,), False)


@pytest.mark.parametrize(("size", "is_kept"), [(MOST_HELD_BYTES, True), (MOST_HELD_BYTES + 1, False)])
def test_one_that_holds_much_is_not_kept(size: int, is_kept: bool) -> None:
    with binary_cursor() as before:
        before.execute("SELECT 1")
    half, rest = size // 2, size - size // 2
    (found,) = binary_rows("SELECT repeat('a', %s)::bytea, repeat('b', %s)::bytea", [half, rest])
    assert found == (b"a" * half, b"b" * rest)
    with binary_cursor() as after:
        assert (after.cursor is before.cursor) == is_kept
        after.execute("SELECT 2")
        assert after.fetchall() == [(2,)]
