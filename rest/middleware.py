"""The contract's error body for what goes wrong outside DRF: unknown paths, bad hosts, failing middleware."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from rest.body import discard_body, release_large_body
from rest.errors import (
    ApiError,
    BadInput,
    InternalError,
    MethodNotAllowed,
    NoAccess,
    NotFound,
    PayloadTooLarge,
    Unavailable,
)
from rest.json import dumps
from rest.request_id import current_request_id

SERVICE_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_ERRORS: dict[int, type[ApiError]] = {
    403: NoAccess,
    404: NotFound,
    405: MethodNotAllowed,
    413: PayloadTooLarge,
    503: Unavailable,
}


class ErrorBodyMiddleware:
    """Stands outside everything but the request id: no answer under /v1 that is an error leaves without its body.

    It also ends what a request's own body holds (`rest.body`): its place among the large ones, and the connection of
    a client that is still sending what was refused.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response = self.get_response(request)
        finally:
            release_large_body(request)
        if response.status_code < 400:
            return response
        if speaks_json(request.path_info) and not _is_told(request, response):
            response = _replace(request, response)
        # Closers run when the answer is on its way.
        response._resource_closers.append(lambda: discard_body(request))  # type: ignore[attr-defined]
        return response


def speaks_json(path: str) -> bool:
    """Say whether a path is the API's, or of those that load balancers and scrapers ask."""
    return is_api_path(path) or path in SERVICE_PATHS


def is_api_path(path: str) -> bool:
    """Say whether a path is under `/v1`."""
    return path == "/v1" or path.startswith("/v1/")


def _is_told(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Say whether the answer carries its error already. Health checks have JSON of their own."""
    if not isinstance(response, HttpResponse) or response.get("Content-Type", "") != "application/json":
        return False
    return not is_api_path(request.path_info) or b'"error_label"' in response.content


def _replace(request: HttpRequest, response: HttpResponseBase) -> HttpResponse:
    error = _error_for(request, response)
    body = dumps(error.body(current_request_id()))
    told = HttpResponse(body, status=error.status_code, content_type="application/json")
    told["Content-Length"] = str(len(body))  # set inside of here otherwise, by CommonMiddleware
    for name, value in error.headers.items():
        told[name] = value
    if "Allow" in response.headers:
        told["Allow"] = response.headers["Allow"]
    told._resource_closers.extend(response._resource_closers)  # type: ignore[attr-defined]
    return told


def _error_for(request: HttpRequest, response: HttpResponseBase) -> ApiError:
    status = response.status_code
    if status == 404:
        return NotFound(f"There is no {request.path_info[:200]} here.", {"path": request.path_info[:200]})
    if status == 405:
        allowed = [name.strip() for name in response.headers.get("Allow", "").split(",") if name.strip()]
        return MethodNotAllowed(params={"allowed": allowed})
    if status in _ERRORS:
        return _ERRORS[status]()
    return InternalError() if status >= 500 else BadInput("The request is malformed: check its Host header and path.")
