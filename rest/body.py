"""Reading a request's body within its limits (contract sections 0 and 9).

A body is spooled first: up to 1 MiB stays in memory, the rest goes to a temporary file. So a slow upload holds
neither memory nor one of the few places for large bodies. Once it has arrived whole, a large body waits a moment
for a place, is read into memory and keeps the place until its request is answered, since what it was parsed into
is what fills the memory.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from email.message import Message
from typing import IO

from django.conf import settings
from django.http import HttpRequest

from rest.errors import BadInput, PayloadTooLarge, Unavailable, UnsupportedMediaType

logger = logging.getLogger(__name__)

LARGE_BODY_BYTES = 1024 * 1024
# Long enough for a body to be parsed in front, too short for waiting callers to use up the web threads.
LARGE_BODY_WAIT_S = 1.0
LARGE_BODY_RETRY_AFTER_S = 5
_CHUNK_BYTES = 64 * 1024
_DISCARD_S, _DISCARD_STALL_S = 10.0, 2.0


def has_body(request: HttpRequest) -> bool:
    """Say whether the request announces a body (a chunked one may still turn out empty)."""
    return _is_chunked(request) or _content_length(request) > 0


def check_media_type(request: HttpRequest) -> None:
    """Raise `UnsupportedMediaType` unless the body is uncompressed JSON in UTF-8 (`application/*+json` too)."""
    header = request.META.get("CONTENT_TYPE", "")
    message = Message()
    message["Content-Type"] = header
    media_type = message.get_content_type() if header else ""
    charset = str(message.get_param("charset", "utf-8")).lower()
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    params = {"allowed": ["application/json", "application/*+json"]}
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    if not is_json:
        sent = f"Content-Type is {header!r}" if header else "Content-Type is missing"
        raise UnsupportedMediaType(f"{sent}. Send the body as application/json.", params)
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"The charset is {charset!r}. Send the body in UTF-8.", params)
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(
            f"Content-Encoding is {encoding!r}. Send the body uncompressed.", {"allowed": ["identity"]}
        )


def read_body(request: HttpRequest, limit: int) -> bytes:
    """Return the whole body, at most `limit` bytes, with `Content-Length` or chunked.

    Raises `PayloadTooLarge` (before reading, where the length is announced), `BadInput` for an upload that breaks
    off, and `Unavailable` when too many large bodies are in hand. A large body keeps its place until
    `release_large_body`, which the middleware calls at the end of every request.
    """
    if hasattr(request, "_body"):  # something read it before us
        return _within(request.body, limit)
    refuse_larger(request, limit)
    with tempfile.SpooledTemporaryFile(max_size=LARGE_BODY_BYTES, dir=settings.FILE_UPLOAD_TEMP_DIR) as spool:
        size = _receive(request, spool, limit)
        if size > LARGE_BODY_BYTES:
            take_large_body(request)
        spool.seek(0)
        return spool.read()


def body_hash(request: HttpRequest) -> bytes:
    """Return the SHA-256 of a body that `read_body` has taken in, for a request that sent an `Idempotency-Key`."""
    known: bytes | None = getattr(request, "_body_hash", None)
    return hashlib.sha256(request.body).digest() if known is None else known


def release_large_body(request: HttpRequest) -> None:
    """Give a large body's place back, if this request holds one. A view that drops the body early may call it."""
    if getattr(request, "_holds_large_body", False):
        request._holds_large_body = False  # type: ignore[attr-defined]
        _large_bodies().release()


def discard_body(request: HttpRequest) -> None:
    """Read on and throw away a body that was refused, within bounds, once its answer is sent.

    A client that is still sending would otherwise find the connection reset, and never see the answer.
    """
    if getattr(request, "_body_received", False):
        return
    wire = request.META.get("gunicorn.socket")
    deadline = time.monotonic() + _DISCARD_S
    try:
        if wire is not None:
            wire.settimeout(_DISCARD_STALL_S)
        for _ in _chunks(request, settings.RUNYARD_MAX_BODY_BYTES):  # nothing, where there is no body
            if time.monotonic() > deadline:
                break
    except (BadInput, OSError):
        return
    finally:
        if wire is not None:
            wire.settimeout(None)


def refuse_larger(request: HttpRequest, limit: int) -> None:
    """Raise `PayloadTooLarge` for a body that is announced to be larger than `limit` bytes, before any is read."""
    if _content_length(request) > limit and not _is_chunked(request):
        raise too_large(limit)


def take_large_body(request: HttpRequest) -> None:
    """Take a place for a body that has arrived and is read into memory now; `release_large_body` gives it back.

    Raises:
        Unavailable: all are taken, and none was given back within a moment.
    """
    if not _large_bodies().acquire(timeout=LARGE_BODY_WAIT_S):
        raise Unavailable(
            f"{settings.RUNYARD_MAX_LARGE_BODIES} large bodies are being taken in already. Try again shortly.",
            {"limit": settings.RUNYARD_MAX_LARGE_BODIES, "setting": "RUNYARD_MAX_LARGE_BODIES"},
            retry_after_s=LARGE_BODY_RETRY_AFTER_S,
        )
    request._holds_large_body = True  # type: ignore[attr-defined]


@functools.cache
def _large_bodies() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(settings.RUNYARD_MAX_LARGE_BODIES)


def _receive(request: HttpRequest, spool: IO[bytes], limit: int) -> int:
    """Copy the body into the spool and return its size."""
    size = 0
    digest = hashlib.sha256() if "HTTP_IDEMPOTENCY_KEY" in request.META else None
    for chunk in _chunks(request, limit):
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        spool.write(chunk)
        if digest:
            digest.update(chunk)
    expected = _content_length(request)
    if not _is_chunked(request) and size < expected:
        raise BadInput(
            f"The body broke off: Content-Length says {expected} bytes, {size} arrived.",
            {"expected": expected, "received": size},
        )
    request._body_received = True  # type: ignore[attr-defined]
    request._body_hash = digest.digest() if digest else None  # type: ignore[attr-defined]
    return size


def _chunks(request: HttpRequest, limit: int) -> Iterator[bytes]:
    """Yield the body in pieces, never more of it than was announced, nor than `limit` + 1 bytes."""
    # Django hands out an empty stream for a chunked body; the server's own one knows where it ends.
    stream = request.META["wsgi.input"]
    if _is_chunked(request):
        if not request.META.get("wsgi.input_terminated"):
            raise BadInput("This server takes no chunked bodies. Send a Content-Length.")
        remaining = limit + 1
    else:
        remaining = min(_content_length(request), limit + 1)
    while remaining > 0:
        try:
            chunk = stream.read(min(_CHUNK_BYTES, remaining))
        except Exception as error:  # each server has its own errors for an upload that breaks off or is malformed
            logger.info("The body could not be read", exc_info=error)
            raise BadInput("The body broke off or is malformed on the wire. Send it again.") from None
        if not chunk:
            return
        remaining -= len(chunk)
        yield chunk


def _is_chunked(request: HttpRequest) -> bool:
    return "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()


def _content_length(request: HttpRequest) -> int:
    text = request.META.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadInput("Content-Length is not a number of bytes.")
    return int(text)


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise too_large(limit)
    return body


def too_large(limit: int) -> PayloadTooLarge:
    """Return the error for a body of more than `limit` bytes."""
    return PayloadTooLarge(
        f"The body is larger than the {limit} bytes allowed (RUNYARD_MAX_BODY_BYTES).",
        {"limit": limit, "setting": "RUNYARD_MAX_BODY_BYTES"},
    )
