"""The request id: one name for a request in its answer, its errors and the logs (contract section 6)."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from uuid_utils.compat import uuid7

_VALID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Return the id of the request this code runs for, or "" outside of one."""
    return _current.get()


class RequestIdMiddleware:
    """Give every request an id (the caller's, if well formed) and send it back as `X-Request-Id`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = sent if _VALID.match(sent) else str(uuid7())
        request.request_id = request_id  # type: ignore[attr-defined]  # for what is logged when we have returned
        token = _current.set(request_id)
        try:
            response = self.get_response(request)
        finally:
            _current.reset(token)
        response.headers["X-Request-Id"] = request_id
        return response
