"""The views every other one grows from: JSON always, strict queries, the contract's lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from rest import ordering, pagination
from rest.body import has_body
from rest.exception_handler import method_not_allowed
from rest.filters import FilterSet
from rest.operations import Operation, Parameter, text
from rest.ordering import SortKey
from rest.query import Query

FORMAT_PARAMETER = "format"


class Negotiation(BaseContentNegotiation):
    """JSON for whoever asks, unless the view offers formats and one of them is asked for.

    No answer is a 406: a browser or a client with an odd `Accept` gets JSON. `?format=` wins over `Accept`; an
    unknown one is a 400 that names those offered.
    """

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """Return the view's parser, which itself refuses other media types."""
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the renderer and its media type."""
        offered = list(renderers)
        chosen = offered[0]
        if len(offered) > 1:
            chosen = _asked_for(request, offered) or _accepted(request, offered) or chosen
        return chosen, str(chosen.media_type)


def _asked_for(request: Request, renderers: Sequence[BaseRenderer]) -> BaseRenderer | None:
    name = Query.of(request).choice(FORMAT_PARAMETER, [str(renderer.format) for renderer in renderers])
    return next((renderer for renderer in renderers if renderer.format == name), None)


def _accepted(request: Request, renderers: Sequence[BaseRenderer]) -> BaseRenderer | None:
    preferred = request._request.get_preferred_type([str(renderer.media_type) for renderer in renderers])
    return next((renderer for renderer in renderers if renderer.media_type == preferred), None)


class ApiRequest(Request):
    """DRF's request, which also sees chunked bodies."""

    def _load_stream(self) -> None:
        # The parser reads the request itself; DRF only asks whether there is anything to parse.
        self._stream: Any = self._request if has_body(self._request) else None


class ApiView(APIView):
    """The base of every view under `/v1`.

    `query_parameters` are the query parameters it takes; any other is a 400. `operations` tells of its methods, by
    name. A method it does not take is a 405 with `Allow`, before the key is looked at. `OPTIONS` and `TRACE` are such
    methods.
    """

    query_parameters: ClassVar[Mapping[str, Parameter]] = {}
    operations: ClassVar[Mapping[str, Operation]] = {}
    content_negotiation_class = Negotiation
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]

    @property
    def query(self) -> Query:
        """The request's query string, read strictly."""
        return Query.of(self.request)

    def known_parameters(self) -> frozenset[str]:
        """Return every query parameter this view takes."""
        formats = frozenset({FORMAT_PARAMETER} if len(self.renderer_classes) > 1 else ())
        return formats | self.query_parameters.keys()

    def described_parameters(self) -> dict[str, Parameter]:
        """Return what the document tells of query parameters; those that `known_parameters` names are all there."""
        formats = [str(renderer.format) for renderer in self.renderer_classes]
        return {**self.query_parameters, FORMAT_PARAMETER: text("Wins over `Accept`.", enum=formats)}

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Wrap Django's request in ours."""
        return ApiRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check the method, who is calling, how often, and what they may; then the query: in this order.

        In DRF's own order a call that is refused for its format or its role would not be counted.
        """
        if request.method not in self.allowed_methods:
            raise method_not_allowed(self.allowed_methods)
        self.perform_authentication(request)
        self.check_throttles(request)
        self.check_permissions(request)
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)
        self.query.refuse_unknown(self.known_parameters())


class ListView(GenericAPIView, ApiView):  # type: ignore[type-arg]
    """A list as the contract has them: filters, `sort`, `limit`, `offset`, `cursor` and the pagination headers.

    Set `serializer_class` (or override `represent`), `get_queryset`, and: `filters`, a `rest.filters.FilterSet`;
    `sort_fields`, public name to ORM field; `default_sort`, ORM fields with `-` for descending; `tie_break`, the fields
    that say creation order, the last one unique.
    """

    filters: ClassVar[type[FilterSet] | None] = None
    sort_fields: ClassVar[Mapping[str, str]] = {}
    default_sort: ClassVar[Sequence[str]] = ("-created_at",)
    tie_break: ClassVar[Sequence[str]] = ordering.TIE_BREAK
    default_limit: ClassVar[int] = pagination.DEFAULT_LIMIT
    max_limit: ClassVar[int] = pagination.MAX_LIMIT
    pagination_class = pagination.ListPagination

    def known_parameters(self) -> frozenset[str]:
        """Return the filters, the page's and the sort's parameters, and the view's own."""
        filters = self.filters.parameters() if self.filters else frozenset()
        sort = {ordering.PARAMETER} if self.sort_fields else set()
        return super().known_parameters() | pagination.PARAMETERS | filters | sort

    def described_parameters(self) -> dict[str, Parameter]:
        """Add those of filters, page and sort."""
        filters = self.filters.described() if self.filters else {}
        return {
            **super().described_parameters(),
            **pagination.page_parameters(self.default_limit, self.max_limit),
            **filters,
            ordering.PARAMETER: ordering.sort_parameter(self.sort_fields),
        }

    def sort_keys(self) -> list[SortKey]:
        """Return the order asked for, a total one."""
        return ordering.read_sort(self.query, self.sort_fields, default=self.default_sort, tie_break=self.tie_break)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the query's filters."""
        return self.filters.filtered(queryset, self.query) if self.filters else queryset

    def represent(self, rows: list[Any]) -> list[Any]:
        """Return the page's rows as the answer shows them."""
        return list(self.get_serializer(rows, many=True).data)

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Answer one page."""
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.represent(list(rows or [])))
