"""Every exception ends in the contract's body, and what is ours to fix tells nothing."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404
from psycopg.errors import IdleInTransactionSessionTimeout
from rest_framework import exceptions as drf

from rest.errors import Conflict, NotFound
from rest.exception_handler import as_api_error, exception_handler


def answer(exc: Exception, view: Any = None) -> tuple[int, dict[str, Any], dict[str, str]]:
    response = exception_handler(exc, {"view": view})
    assert set(response.data) == {"message", "error_label", "error_scope", "status_code", "params", "error_ref"}
    assert response.data["status_code"] == response.status_code
    return response.status_code, response.data, dict(response.headers)


@pytest.mark.parametrize(
    ("exc", "status", "label"),
    [
        (NotFound(), 404, "NOT_FOUND"),
        (Conflict("no", {"status": "RUNNING"}), 409, "CONFLICT"),
        (Http404(), 404, "NOT_FOUND"),
        (PermissionDenied(), 403, "NO_ACCESS"),
        (DisallowedHost(), 400, "BAD_INPUT"),
        (drf.ParseError("bad"), 400, "BAD_INPUT"),
        (drf.ValidationError({"name": ["Too long."]}), 400, "BAD_INPUT"),
        (drf.NotAuthenticated(), 401, "UNAUTHORIZED"),
        (drf.AuthenticationFailed("expired"), 401, "UNAUTHORIZED"),
        (drf.PermissionDenied(), 403, "NO_ACCESS"),
        (drf.NotFound(), 404, "NOT_FOUND"),
        (drf.MethodNotAllowed("PUT"), 405, "METHOD_NOT_ALLOWED"),
        (drf.NotAcceptable(), 400, "BAD_PARAMETERS"),
        (drf.UnsupportedMediaType("text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (drf.Throttled(wait=7), 429, "STATUS_429"),
        (OperationalError("server closed the connection"), 503, "UNAVAILABLE"),
        (InterfaceError("connection already closed"), 503, "UNAVAILABLE"),
        (drf.APIException("secret"), 500, "INTERNAL_ERROR"),
        (ZeroDivisionError("secret"), 500, "INTERNAL_ERROR"),
    ],
)
def test_each_exception_has_its_answer(exc: Exception, status: int, label: str) -> None:
    got, body, headers = answer(exc)
    assert (got, body["error_label"]) == (status, label)
    assert ("Retry-After" in headers) == (status in (429, 503))
    assert ("WWW-Authenticate" in headers) == (status == 401)
    assert "secret" not in str(body)
    assert "connection" not in str(body)


def test_a_defect_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    defect = ZeroDivisionError("secret")
    with caplog.at_level(logging.ERROR, "rest.exception_handler"):
        answer(defect)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is defect


def test_what_is_allowed_is_told() -> None:
    class View:
        allowed_methods = ["GET", "HEAD"]

    _, body, headers = answer(drf.MethodNotAllowed("PUT"), View())
    assert headers["Allow"] == "GET, HEAD"
    assert body["params"] == {"allowed": ["GET", "HEAD"]}


def test_a_transaction_that_stood_still_is_the_database_being_away() -> None:
    lost = InternalError("terminating connection due to idle-in-transaction timeout")
    lost.__cause__ = IdleInTransactionSessionTimeout()
    assert as_api_error(lost, {}).status_code == 503
    assert as_api_error(InternalError("current transaction is aborted"), {}).status_code == 500
