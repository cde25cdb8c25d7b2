"""Pages of lists (contract section 0): bare arrays, with everything about the page in headers.

A list read from its start is walked by cursor: the next page begins after the last row seen, whatever is inserted
meanwhile, and costs the same at any depth. With an explicit `offset` the links count rows instead.

The position after a cursor is not one big OR, which PostgreSQL answers by reading from the start: it is cut into
ranges that follow one another (same first key and further on in the second; further on in the first; ...), each of
them one stretch of an index, read until the page is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Func, Model, OrderBy, Q, QuerySet, Value
from django.db.models.fields import BooleanField
from django.db.models.lookups import GreaterThan, LessThan
from django.utils.encoding import escape_uri_path
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from rest.cursor import read_cursor, write_cursor
from rest.operations import Parameter, text, whole_number
from rest.ordering import SortKey
from rest.query import Query, bad_parameter

DEFAULT_LIMIT, MAX_LIMIT = 10, 100
MAX_OFFSET = 1_000_000
COUNTED_UP_TO = 10_000
FEW = 1_000
PARAMETERS = frozenset({"limit", "offset", "cursor"})


@dataclass(frozen=True)
class PageRequest:
    """What a caller asks for: `limit` rows, from `offset` (None: not given) or after `cursor` (None: not given)."""

    limit: int
    offset: int | None = None
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """A page's rows and the headers that go with them."""

    rows: list[Any]
    headers: dict[str, str]


def page_parameters(default: int = DEFAULT_LIMIT, maximum: int = MAX_LIMIT) -> dict[str, Parameter]:
    """Return what `read_page` reads."""
    return {
        "limit": whole_number("How many at once.", minimum=1, maximum=maximum, default=default),
        "offset": whole_number("How many to pass over. Send this or `cursor`.", minimum=0, maximum=MAX_OFFSET),
        "cursor": text("Where to go on, from `X-Pagination-Next`: a page then costs the same at any depth."),
    }


def read_page(query: Query, *, default: int = DEFAULT_LIMIT, maximum: int = MAX_LIMIT) -> PageRequest:
    """Read `limit`, `offset` and `cursor`, or raise `BadParameters`; `cursor` and `offset` exclude each other."""
    limit = query.integer("limit", minimum=1, maximum=maximum)
    offset = query.integer("offset", minimum=0, maximum=MAX_OFFSET)
    cursor = query.scalar("cursor")
    if cursor is not None and offset is not None:
        raise bad_parameter("cursor", "takes the place of offset: send one of the two.", {"instead_of": "offset"})
    return PageRequest(default if limit is None else limit, offset, cursor)


def page_headers(
    request: Any,
    *,
    limit: int,
    offset: int,
    total: int,
    next: Mapping[str, Any] | None = None,
    prev: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Return the pagination headers of any list.

    `offset` is where the page starts, counted from the first row; `total` may be anything above 10,000 once there
    are more. `next` and `prev` are the changes to this request's query that lead there (None: there is no such
    page; a value of None drops the parameter): `{"cursor": "...", "offset": None}`.
    """
    headers = {
        "X-Pagination-Limit": str(limit),
        "X-Pagination-Offset": str(offset),
        "X-Pagination-Total": str(total) if total <= COUNTED_UP_TO else f"{COUNTED_UP_TO}+",
    }
    links = []
    for name, changes in (("next", next), ("prev", prev)):
        if changes is not None:
            url = _url(request, changes)
            headers[f"X-Pagination-{name.capitalize()}"] = url
            links.append(f'<{url}>; rel="{name}"')
    if links:
        headers["Link"] = ", ".join(links)
    return headers


def offset_links(limit: int, offset: int, *, more: bool) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the `next` and `prev` changes of a page by offset; `more` says whether rows follow."""
    following = offset + limit
    return (
        {"offset": following, "limit": limit} if more and following <= MAX_OFFSET else None,
        {"offset": max(0, offset - limit), "limit": limit} if offset else None,
    )


def count(queryset: QuerySet[Any]) -> int:
    """Count rows, but never more than one above what the header tells exactly."""
    return queryset.order_by().values("pk")[: COUNTED_UP_TO + 1].count()


def paginate(request: Any, queryset: QuerySet[Any], keys: Sequence[SortKey], page: PageRequest) -> Page:
    """Read one page of model instances in the order of `keys`, whose last one must be unique and never null.

    Raises `BadParameters` for a cursor that is malformed or belongs to another list or order.
    """
    total = count(queryset)
    if page.offset is not None:
        return _by_offset(request, queryset, keys, page.limit, page.offset, total)
    return _by_cursor(request, queryset, keys, page, total)


class ListPagination(BasePagination):
    """DRF's paginator for views with `sort_keys`, `default_limit` and `max_limit` (`rest.views.ListView`)."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the page's rows; the headers wait for `get_paginated_response`."""
        wanted = read_page(Query.of(request), default=view.default_limit, maximum=view.max_limit)
        self.page = paginate(request, queryset, view.sort_keys(), wanted)
        return self.page.rows

    def get_paginated_response(self, data: Any) -> Response:
        """Answer the bare array with the page's headers."""
        return Response(data, headers=self.page.headers)


def _by_offset(
    request: Any, queryset: QuerySet[Any], keys: Sequence[SortKey], limit: int, offset: int, total: int
) -> Page:
    rows = _read(queryset, keys, slice(offset, offset + limit + 1), total)
    more, rows = len(rows) > limit, rows[:limit]
    following, preceding = offset_links(limit, offset, more=more)
    if more and following is None:  # past the last offset there is, a cursor leads on
        scope = _scope(request, keys)
        following = {"offset": None, "cursor": _cursor(scope, keys, rows[-1], offset + limit)}
    return Page(rows, page_headers(request, limit=limit, offset=offset, total=total, next=following, prev=preceding))


def _by_cursor(request: Any, queryset: QuerySet[Any], keys: Sequence[SortKey], page: PageRequest, total: int) -> Page:
    limit, offset, backward, position, scope = page.limit, 0, False, None, _scope(request, keys)
    if page.cursor is not None:
        kept = read_cursor(scope, page.cursor)
        position, offset, backward = kept["at"], kept["offset"], kept["back"]
    walked = [key.reversed() for key in keys] if backward else list(keys)
    rows = _rows_after(queryset, walked, position, limit + 1, total)
    more, rows = len(rows) > limit, rows[:limit]
    if backward:
        rows.reverse()
        offset = max(0, offset - len(rows))
    following = preceding = None
    if rows and (more or backward):
        following = {"cursor": _cursor(scope, keys, rows[-1], offset + len(rows))}
    if rows and (more if backward else position is not None):
        preceding = {"cursor": _cursor(scope, keys, rows[0], offset, back=True)}
    return Page(rows, page_headers(request, limit=limit, offset=offset, total=total, next=following, prev=preceding))


def _cursor(scope: str, keys: Sequence[SortKey], row: Any, offset: int, *, back: bool = False) -> str:
    position = [_value(row, key.field) for key in keys]
    return write_cursor(scope, {"at": position, "offset": offset, "back": back})


def _scope(request: Any, keys: Sequence[SortKey]) -> str:
    """Name the list a request reads: its path, filters and order, but not where its page lies."""
    filters = sorted(pair for pair in Query.of(request).pairs if pair[0] not in PARAMETERS)
    return f"list:{request.path}?{urlencode(filters)}:{','.join(map(str, keys))}"


def _value(row: Any, field: str) -> Any:
    for name in field.split("__"):
        row = getattr(row, name)
    return row


def _rows_after(
    queryset: QuerySet[Any], keys: Sequence[SortKey], position: Sequence[Any] | None, wanted: int, total: int
) -> list[Any]:
    if position is None:
        return _read(queryset, keys, slice(wanted), total)
    rows: list[Any] = []
    for stretch in _ranges_after(queryset.model, keys, position):
        rows += _read(_narrowed(queryset, stretch), keys, slice(wanted - len(rows)), total)
        if len(rows) == wanted:
            break
    return rows


def _narrowed(queryset: QuerySet[Any], stretch: Any) -> QuerySet[Any]:
    """Return the rows of a range. Its condition stands before those of the filters.

    Of two that bound the same column PostgreSQL begins to read an index at the first: after `created_before` it would
    read all there is from there to the page.
    """
    narrowed = queryset.filter(stretch)
    conditions, known = narrowed.query.where.children, len(queryset.query.where.children)
    narrowed.query.where.children = conditions[known:] + conditions[:known]
    return narrowed


def _read(queryset: QuerySet[Any], keys: Sequence[SortKey], part: slice, total: int) -> list[Any]:
    """Read a part of a list of `total` rows.

    PostgreSQL may take the filters of a short list for less strict than they are, and then reads all that there is in
    the order asked for, waiting for a page to fill. So the rows of a short one are found first and sorted then.
    """
    ordered = queryset.order_by(*map(str, keys))
    if not total:
        return []
    if total <= FEW:
        first, *others = keys
        sorted_by = _without_index(queryset.model, first)
        found = queryset.order_by(sorted_by, *map(str, others)).values("pk")[part]
        return list(ordered.filter(pk__in=found))
    return list(ordered[part])


def _without_index(model: type[Model], key: SortKey) -> OrderBy:
    """Return a key as an expression that sorts alike, but that no index is sorted by."""
    value = Func(F(key.field), template="(ARRAY[%(expressions)s])[1]", output_field=_field(model, key.field))
    return OrderBy(value, descending=key.descending)


def _ranges_after(model: type[Model], keys: Sequence[SortKey], position: Sequence[Any]) -> Iterator[Any]:
    """Yield the conditions of the ranges that follow a position, in order."""
    nullable = [_nullable(model, key.field) for key in keys]
    one_way = len({key.descending for key in keys}) == 1
    if one_way and None not in position and (keys[0].descending or not any(nullable)):
        yield _row_comparison(model, keys, position)
        return
    for index in reversed(range(len(keys))):
        same = Q()
        for key, value in zip(keys[:index], position[:index], strict=True):
            same &= _equals(key.field, value)
        key, value = keys[index], position[index]
        if value is None:
            if key.descending:
                yield same & Q(**{f"{key.field}__isnull": False})
            continue
        yield same & Q(**{f"{key.field}__{'lt' if key.descending else 'gt'}": value})
        if nullable[index] and not key.descending:
            yield same & Q(**{f"{key.field}__isnull": True})


def _equals(field: str, value: Any) -> Q:
    return Q(**{f"{field}__isnull": True}) if value is None else Q(**{field: value})


def _row_comparison(model: type[Model], keys: Sequence[SortKey], position: Sequence[Any]) -> Any:
    """Return `ROW(a, b) < ROW(x, y)`, which PostgreSQL reads as one index range.

    Nulls need no care here: going down they come before every value, and a row with one compares as unknown.
    """
    columns = Func(*(F(key.field) for key in keys), function="ROW", output_field=BooleanField())
    values = Func(
        *(Value(value, output_field=_field(model, key.field)) for key, value in zip(keys, position, strict=True)),
        function="ROW",
        output_field=BooleanField(),
    )
    return LessThan(columns, values) if keys[0].descending else GreaterThan(columns, values)


def _field(model: type[Model], path: str) -> Any:
    """Return the model field at the end of a path, or None for an annotation."""
    field: Any = None
    for name in path.split("__"):
        try:
            field = model._meta.get_field("pk" if field is None and name == "pk" else name)
        except FieldDoesNotExist:
            return None
        model = field.related_model or model
    return field


def _nullable(model: type[Model], path: str) -> bool:
    field: Any = None
    for name in path.split("__"):
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            return True
        if field.null:
            return True
        model = field.related_model or model
    return False


def _url(request: Any, changes: Mapping[str, Any]) -> str:
    query = Query.of(request).with_changes(changes)
    return str(request.build_absolute_uri(escape_uri_path(request.path))) + (f"?{query}" if query else "")
