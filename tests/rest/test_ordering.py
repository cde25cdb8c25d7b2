"""The `sort` parameter."""

from __future__ import annotations

import pytest

from rest.errors import BadParameters
from rest.ordering import read_sort
from rest.query import Query

FIELDS = {"created_at": "created_at", "status": "status", "action_name": "action__name"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["-created_at", "-id"]),
        ("sort=status", ["status", "id"]),
        ("sort=-status", ["-status", "-id"]),
        ("sort=status,-action_name", ["status", "-action__name", "-id"]),
        ("sort=-status&sort=action_name", ["-status", "action__name", "id"]),
        ("sort=status,-status", ["status", "id"]),
    ],
)
def test_the_order_is_total(query: str, expected: list[str]) -> None:
    assert [str(key) for key in read_sort(Query(query), FIELDS)] == expected


def test_what_cannot_be_sorted_by_is_told_what_can() -> None:
    for query in ("sort=id", "sort=--status", "sort=", "sort=status,", "sort=action__name", "sort=-", "sort=%2Bstatus"):
        with pytest.raises(BadParameters) as caught:
            read_sort(Query(query), FIELDS)
        assert caught.value.params == {"parameter": "sort", "allowed": ["action_name", "created_at", "status"]}


def test_at_most_ten_fields() -> None:
    fields = {f"f{number}": f"f{number}" for number in range(11)}
    assert len(read_sort(Query("sort=" + ",".join(list(fields)[:10])), fields)) == 11
    with pytest.raises(BadParameters) as caught:
        read_sort(Query("sort=" + ",".join(fields)), fields)
    assert caught.value.params == {"parameter": "sort", "allowed": {"max_items": 10}}
