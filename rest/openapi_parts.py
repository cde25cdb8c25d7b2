"""What operations share in the OpenAPI document: headers of answers, and the answers to what goes wrong."""

from __future__ import annotations

from rest.errors import (
    ApiError,
    BadInput,
    BadParameters,
    Conflict,
    IdempotencyMismatch,
    InternalError,
    NoAccess,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from rest.operations import Schema

ALWAYS: tuple[type[ApiError], ...] = (BadParameters, InternalError, Unavailable)
"""What any operation may answer."""
WITH_KEY: tuple[type[ApiError], ...] = (Unauthorized, NoAccess, RateLimited)
WITH_BODY: tuple[type[ApiError], ...] = (BadInput, PayloadTooLarge, UnsupportedMediaType)
WITH_PATH: tuple[type[ApiError], ...] = (NotFound,)
WITH_IDEMPOTENCY: tuple[type[ApiError], ...] = (BadInput, Conflict, IdempotencyMismatch)

EXAMPLE_REF = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"
_INTEGER: Schema = {"type": "integer", "minimum": 0}
_TEXT: Schema = {"type": "string"}
_URL: Schema = {"type": "string", "format": "uri-reference"}

REQUEST_ID = "X-Request-Id"
RATE = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
PAGE = ("X-Pagination-Limit", "X-Pagination-Offset", "X-Pagination-Total")
NEIGHBOURS = ("X-Pagination-Next", "X-Pagination-Prev", "Link")
REPLAYED = "Idempotency-Replayed"


def _header(description: str, schema: Schema, *, always: bool = False) -> Schema:
    return {"description": description, "schema": schema} | ({"required": True} if always else {})


HEADERS: dict[str, Schema] = {
    REQUEST_ID: _header(
        "The request's id: the one you sent in this header, if it is 1 to 64 of `A-Za-z0-9._-`.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        always=True,
    ),
    "X-RateLimit-Limit": _header("How many requests this key may make in the time of the limit.", _INTEGER),
    "X-RateLimit-Remaining": _header("How many are left.", _INTEGER),
    "X-RateLimit-Reset": _header("When the oldest of them no longer counts, in seconds since 1970.", _INTEGER),
    "X-Pagination-Limit": _header("The `limit` in force.", _INTEGER, always=True),
    "X-Pagination-Offset": _header("Where the page starts, counted from the first row.", _INTEGER, always=True),
    "X-Pagination-Total": _header(
        "How many there are: exact up to 10000, then `10000+`.",
        {"type": "string", "pattern": r"^[0-9]+\+?$"},
        always=True,
    ),
    "X-Pagination-Next": _header("The URL of the next page; absent at the end.", _URL),
    "X-Pagination-Prev": _header("The URL of the page before; absent at the start.", _URL),
    "Link": _header("The same two by RFC 8288.", _TEXT),
    "Location": _header("Where what was made is.", _URL, always=True),
    "X-Run-Uid": _header("The run that the call was recorded as.", {"type": "string", "format": "uuid"}, always=True),
    REPLAYED: _header("`true` where this answer is that of an earlier request again.", {"const": "true"}),
    "Retry-After": _header("After how many seconds to try again.", _INTEGER),
    "WWW-Authenticate": _header("How to authenticate.", _TEXT, always=True),
}

IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Does what it asks for once, however often it is sent: within 24 hours the same key with the same"
    " body is answered as the first was.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def optional_page_headers() -> Schema:
    """Return the headers of pages, for an answer that may be something else."""
    return {
        name: {key: value for key, value in HEADERS[name].items() if key != "required"} for name in (*PAGE, *NEIGHBOURS)
    }


def error_name(status: int) -> str:
    """Return what the component of the answers with an error status is called."""
    return f"Error{status}"


def error_response(status: int, error: Schema) -> Schema:
    """Return the answer with an error status: every label that goes with it, with an example of each."""
    kinds = _kinds(status)
    examples = {kind.label: {"value": kind().body(EXAMPLE_REF)} for kind in kinds}
    return {
        "description": " ".join(f"`{kind.label}`: {kind.default_message}" for kind in kinds),
        "content": {"application/json": {"schema": error, "examples": examples}},
    }


def error_headers(status: int) -> list[str]:
    """Return the headers of an error answer: its own, and those of the request as far as it was counted."""
    kinds = _kinds(status)
    names = {name for kind in kinds for name in kind().headers}
    names |= {"Retry-After"} if status in (409, 429, 503) else set()
    names |= {"X-Run-Uid"} if any(kind.scope == "action" for kind in kinds) else set()
    return [*sorted(names), REQUEST_ID, *(RATE if status != Unauthorized.status_code else ())]


def _kinds(status: int) -> list[type[ApiError]]:
    ours = (kind for kind in ApiError.__subclasses__() if kind.__module__ == ApiError.__module__)
    return [kind for kind in ours if kind.status_code == status]
