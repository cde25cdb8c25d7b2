"""JSON as DRF takes it in and gives it out. Apart from `rest.json`, so that workers need no DRF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from rest.body import check_media_type, read_body
from rest.json import RawJSON, dumps, parse


class JSONParser(BaseParser):
    """DRF's way in: read the body within its limits and parse it by the contract's rules."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the body's value; an empty body is `{}`. Raises `BadInput`, 413, 415 and 503 (`rest.body`).

        The stream DRF hands over knows no chunked bodies, so the body is read from the request itself.
        """
        request = (parser_context or {})["request"]._request
        check_media_type(request)
        body = read_body(request, settings.RUNYARD_MAX_BODY_BYTES)
        return parse(body, max_nodes=settings.RUNYARD_MAX_BODY_NODES) if body else {}


class JSONRenderer(BaseRenderer):
    """DRF's way out. Times in UTC come as `rfc3339` writes them, UUIDs as text."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return the answer's bytes; `None` is an empty answer."""
        if data is None:
            return b""
        return bytes(data) if isinstance(data, RawJSON) else dumps(data)
