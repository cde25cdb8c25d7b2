"""Pages tile their list exactly, in any order, with nulls and ties, whatever is inserted meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection, models
from django.test import RequestFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rest.errors import BadParameters
from rest.ordering import SortKey, with_tie_break
from rest.pagination import Page, PageRequest, paginate, read_page
from rest.query import Query

START = datetime(2025, 1, 1, tzinfo=UTC)


class Row(models.Model):
    """A table with all that makes pages hard: ties, nulls, times."""

    name = models.TextField()
    number = models.IntegerField(null=True)
    at = models.DateTimeField(null=True)

    class Meta:
        app_label = "rest_tests"


@pytest.fixture
def table(db: None) -> None:
    """The table, gone again with the test's transaction."""
    with connection.schema_editor() as editor:
        editor.create_model(Row)


def fill(rows: Sequence[tuple[str, int | None, int | None]]) -> None:
    Row.objects.bulk_create(
        Row(name=name, number=number, at=None if day is None else START + timedelta(days=day, microseconds=day))
        for name, number, day in rows
    )


def page_at(url: str, keys: Sequence[SortKey], **limits: int) -> Page:
    parts = urlsplit(url)
    request = RequestFactory(headers={"host": "testserver"}).get(parts.path, QUERY_STRING=parts.query)
    return paginate(request, Row.objects.all(), keys, read_page(Query.of(request), **limits))


def walk(url: str, keys: Sequence[SortKey], header: str = "X-Pagination-Next") -> list[Page]:
    """Follow a link to its end."""
    pages: list[Page] = []
    following: str | None = url
    while following is not None:
        assert len(pages) < 60
        pages.append(page_at(following, keys))
        following = pages[-1].headers.get(header)
    return pages


def ids(pages: list[Page]) -> list[int]:
    return [row.id for page in pages for row in page.rows]


def in_order(keys: Sequence[SortKey]) -> list[int]:
    return list(Row.objects.order_by(*map(str, keys)).values_list("id", flat=True))


ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([None, 1, 2]), st.sampled_from([None, 1, 2])), max_size=14
)
KEYS = st.lists(
    st.builds(SortKey, st.sampled_from(["name", "number", "at"]), st.booleans()),
    max_size=3,
    unique_by=lambda key: key.field,
).map(with_tie_break)
on_one_table = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@on_one_table
@given(rows=ROWS, keys=KEYS, limit=st.integers(1, 5))
def test_pages_by_cursor_tile_the_list_both_ways(table: None, rows: list[Any], keys: list[SortKey], limit: int) -> None:
    Row.objects.all().delete()
    fill(rows)
    forward = walk(f"/v1/rows?limit={limit}", keys)
    assert ids(forward) == in_order(keys)
    assert all(len(page.rows) == limit for page in forward[:-1])
    assert [page.headers["X-Pagination-Offset"] for page in forward] == [str(i * limit) for i in range(len(forward))]
    if len(forward) > 1:
        back = walk(forward[-1].headers["X-Pagination-Prev"], keys, "X-Pagination-Prev")
        assert ids(back[::-1]) == ids(forward[:-1])
        assert ids([page_at(back[0].headers["X-Pagination-Next"], keys)]) == ids(forward[-1:])
    assert "X-Pagination-Prev" not in forward[0].headers


@on_one_table
@given(rows=ROWS, keys=KEYS, limit=st.integers(1, 5))
def test_pages_by_offset_tile_the_list(table: None, rows: list[Any], keys: list[SortKey], limit: int) -> None:
    Row.objects.all().delete()
    fill(rows)
    pages = walk(f"/v1/rows?limit={limit}&offset=0", keys)
    assert ids(pages) == in_order(keys)
    assert all("cursor=" not in page.headers.get("X-Pagination-Next", "") for page in pages)


@on_one_table
@given(
    rows=st.lists(st.tuples(st.just("a"), st.sampled_from([None, 1, 2]), st.none()), min_size=4, max_size=10),
    added=st.lists(st.tuples(st.just("a"), st.sampled_from([None, 0, 1, 2, 3]), st.none()), max_size=4),
    keys=KEYS,
)
def test_what_was_there_is_seen_once_whatever_is_inserted(
    table: None, rows: list[Any], added: list[Any], keys: list[SortKey]
) -> None:
    Row.objects.all().delete()
    fill(rows)
    there = in_order(keys)
    seen: list[int] = []
    url: str | None = "/v1/rows?limit=2"
    while url is not None:
        page = page_at(url, keys)
        seen += ids([page])
        fill(added[:1])
        added = added[1:]
        url = page.headers.get("X-Pagination-Next")
    assert len(seen) == len(set(seen))
    assert [row for row in seen if row in there] == there


def test_links_keep_the_query_and_the_host(table: None) -> None:
    fill([("a", 1, 1)] * 5)
    keys = [SortKey("id")]
    page = page_at("/v1/rows/caf%C3%A9%3F?tag=a%26b&limit=2&offset=2&tag=%C3%A9", keys)
    expected = "http://testserver/v1/rows/caf%C3%A9%3F?tag=a%26b&tag=%C3%A9&offset={}&limit=2"
    assert page.headers == {
        "X-Pagination-Limit": "2",
        "X-Pagination-Offset": "2",
        "X-Pagination-Total": "5",
        "X-Pagination-Next": expected.format(4),
        "X-Pagination-Prev": expected.format(0),
        "Link": f'<{expected.format(4)}>; rel="next", <{expected.format(0)}>; rel="prev"',
    }
    first = page_at("/v1/rows?tag=a&limit=2", keys)
    query = parse_qs(urlsplit(first.headers["X-Pagination-Next"]).query)
    assert (query["tag"], query["limit"], set(query)) == (["a"], ["2"], {"tag", "limit", "cursor"})


def test_the_total_is_exact_up_to_10000(table: None) -> None:
    fill([("a", None, None)] * 10_000)
    assert page_at("/v1/rows", [SortKey("id")]).headers["X-Pagination-Total"] == "10000"
    fill([("a", None, None)])
    assert page_at("/v1/rows", [SortKey("id")]).headers["X-Pagination-Total"] == "10000+"


def test_an_offset_past_the_end_is_an_empty_page(table: None) -> None:
    fill([("a", 1, 1)])
    page = page_at("/v1/rows?offset=1000000", [SortKey("id")])
    assert page.rows == []
    assert "X-Pagination-Next" not in page.headers


def test_past_the_last_offset_a_cursor_leads_on(table: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rest.pagination.MAX_OFFSET", 4)
    fill([("a", 1, 1)] * 12)
    assert ids(walk("/v1/rows?limit=3&offset=0", [SortKey("id")])) == in_order([SortKey("id")])


def test_a_cursor_of_another_order_is_refused(table: None) -> None:
    fill([("a", 1, 1)] * 3)
    url = page_at("/v1/rows?limit=1", [SortKey("id")]).headers["X-Pagination-Next"]
    with pytest.raises(BadParameters) as caught:
        page_at(url, [SortKey("id", descending=True)])
    assert caught.value.params["parameter"] == "cursor"


def test_a_cursor_outlives_a_change_of_the_key_for_as_long_as_that_is_kept(table: None, settings: Any) -> None:
    fill([("a", 1, 1)] * 3)
    url = page_at("/v1/rows?limit=1", [SortKey("id")]).headers["X-Pagination-Next"]
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "the next one"
    assert len(page_at(url, [SortKey("id")]).rows) == 1
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(BadParameters):
        page_at(url, [SortKey("id")])


def cursor_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["cursor"][0]


@pytest.mark.parametrize(
    "other", ["/v1/others?tag=a&tag=b", "/v1/rows?tag=a", "/v1/rows?tag=a&tag=b&name=c", "/v1/rows"]
)
def test_a_cursor_of_another_list_is_refused(table: None, other: str) -> None:
    fill([("a", 1, 1)] * 3)
    page = page_at("/v1/rows?tag=a&tag=b&limit=1", [SortKey("id")])
    cursor = cursor_of(page.headers["X-Pagination-Next"])
    with pytest.raises(BadParameters) as caught:
        page_at(f"{other}{'&' if '?' in other else '?'}cursor={cursor}", [SortKey("id")])
    assert caught.value.params["parameter"] == "cursor"


def test_a_cursor_may_come_with_another_limit_and_its_filters_in_another_order(table: None) -> None:
    fill([("a", 1, 1)] * 5)
    page = page_at("/v1/rows?tag=a&name=%C3%A9&limit=1", [SortKey("id")])
    cursor = cursor_of(page.headers["X-Pagination-Next"])
    following = page_at(f"/v1/rows?cursor={cursor}&limit=3&name=\xc3\xa9&tag=a", [SortKey("id")])
    assert ids([following]) == in_order([SortKey("id")])[1:4]


@pytest.mark.parametrize(
    "cursor", ["", "x", "%00", "a" * 5000, "%C3%A9", "AAAAAAAAAAAAAAAAAAAAAAAA", "null", "-1", "=="]
)
def test_a_cursor_that_is_none_is_refused(table: None, cursor: str) -> None:
    with pytest.raises(BadParameters) as caught:
        page_at(f"/v1/rows?cursor={cursor}", [SortKey("id")])
    assert caught.value.params["parameter"] == "cursor"


def test_an_edited_cursor_is_refused(table: None) -> None:
    fill([("a", 1, 1)] * 3)
    url = page_at("/v1/rows?limit=1", [SortKey("id")]).headers["X-Pagination-Next"]
    before, cursor = url.split("cursor=")
    for index, letter in enumerate(cursor):
        edited = cursor[:index] + ("A" if letter != "A" else "B") + cursor[index + 1 :]
        with pytest.raises(BadParameters):
            page_at(f"{before}cursor={edited}", [SortKey("id")])


def test_a_uniform_order_is_one_stretch_of_its_index(table: None) -> None:
    """The position is an index condition: rows before it are not read."""
    fill([("a", number, None) for number in range(3000)])
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX ON rest_tests_row (name, id)")
        cursor.execute("ANALYZE rest_tests_row")
    keys = [SortKey("name", descending=True), SortKey("id", descending=True)]
    from rest.pagination import _ranges_after

    (stretch,) = _ranges_after(Row, keys, ["a", 1500])
    plan = Row.objects.filter(stretch).order_by(*map(str, keys))[:10].explain()
    assert "Index Cond: (ROW(name, id) < ROW('a'::text" in plan
    assert "Sort" not in plan


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", PageRequest(10)),
        ("limit=1", PageRequest(1)),
        ("limit=100&offset=0", PageRequest(100, 0)),
        ("offset=1000000", PageRequest(10, 1_000_000)),
        ("cursor=x", PageRequest(10, None, "x")),
    ],
)
def test_what_a_page_is_asked_by(query: str, expected: PageRequest) -> None:
    assert read_page(Query(query)) == expected


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=1&limit=2", "offset=-1", "offset=1000001"])
def test_what_no_page_is_asked_by(query: str) -> None:
    with pytest.raises(BadParameters) as caught:
        read_page(Query(query))
    assert caught.value.params["parameter"] == query.split("=")[0]


def test_cursor_and_offset_exclude_each_other() -> None:
    with pytest.raises(BadParameters, match="cursor: takes the place of offset"):
        read_page(Query("cursor=x&offset=0"))
