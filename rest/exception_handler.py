"""From any exception in a view to the contract's error body. Views hold no `try`: it all comes here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.db import InternalError as InternalDatabaseError
from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from rest import schema
from rest.errors import (
    ApiError,
    BadInput,
    BadParameters,
    InternalError,
    MethodNotAllowed,
    NoAccess,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from rest.request_id import current_request_id

logger = logging.getLogger(__name__)

DATABASE_RETRY_AFTER_S = 2


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Answer an exception raised in a view (DRF's `EXCEPTION_HANDLER`)."""
    error = as_api_error(exc, context)
    if isinstance(error, InternalError):
        logger.error("A view failed", exc_info=exc)
    elif _is_database_away(exc):
        logger.warning("The database did not answer", exc_info=exc)
    elif schema.is_behind(exc):
        logger.error("The database lacks what this code asks of it: migrations are pending", exc_info=exc)
    set_rollback()
    response = Response(error.body(current_request_id()), status=error.status_code, headers=error.headers)
    # Django would log a 5xx as an error of its own: a busy service is none, and what is one has been logged above.
    response._has_been_logged = error.status_code >= 500  # type: ignore[attr-defined]
    return response


def as_api_error(exc: Exception, context: Mapping[str, Any]) -> ApiError:
    """Return what the caller is told for an exception. What is unknown is an `InternalError` that tells nothing."""
    if isinstance(exc, ApiError):
        return exc
    if isinstance(exc, drf.APIException):
        return _from_drf(exc, context)
    if isinstance(exc, Http404):
        return NotFound()
    if isinstance(exc, PermissionDenied):
        return NoAccess()
    if isinstance(exc, SuspiciousOperation):
        return BadInput("The request is malformed.")
    if _is_database_away(exc):
        return Unavailable("The database does not answer. Try again shortly.", retry_after_s=DATABASE_RETRY_AFTER_S)
    if schema.is_behind(exc):
        return Unavailable("The database is being upgraded. Try again shortly.", retry_after_s=schema.RETRY_AFTER_S)
    return InternalError()


def _is_database_away(exc: Exception) -> bool:
    """Say whether the database did not answer, or ended a transaction that had stood still (SQLSTATE 25P03)."""
    lost = isinstance(exc, InternalDatabaseError) and getattr(exc.__cause__, "sqlstate", "") == "25P03"
    return lost or isinstance(exc, OperationalError | InterfaceError)


def _from_drf(exc: drf.APIException, context: Mapping[str, Any]) -> ApiError:
    match exc:
        case drf.MethodNotAllowed():
            return method_not_allowed(getattr(context.get("view"), "allowed_methods", []))
        case drf.NotAuthenticated():
            return Unauthorized()
        case drf.AuthenticationFailed():
            return Unauthorized(_text(exc.detail))
        case drf.PermissionDenied():
            return NoAccess(_text(exc.detail))
        case drf.NotFound():
            return NotFound()
        case drf.UnsupportedMediaType():
            return UnsupportedMediaType()
        case drf.NotAcceptable():
            return BadParameters("None of the formats asked for is offered.")
        case drf.Throttled():
            wait = max(1, round(getattr(exc, "wait", None) or 1))
            return RateLimited(
                f"Too many requests. Try again in {wait} s.",
                {"retry_after_s": wait},
                headers={"Retry-After": str(wait)},
            )
        case drf.ParseError():
            return BadInput(_text(exc.detail))
        case _ if exc.status_code < 500:
            return BadInput(_text(exc.detail))
        case _:
            return InternalError()


def method_not_allowed(allowed: list[str]) -> MethodNotAllowed:
    """Return the 405 of a path that takes only the `allowed` methods."""
    names = ", ".join(allowed)
    return MethodNotAllowed(f"This path takes only {names}.", {"allowed": list(allowed)}, headers={"Allow": names})


def _text(detail: Any) -> str:
    return detail if isinstance(detail, str) else "The request is not valid."
