"""A Content-Type that cannot be read, taken out before anybody reads it.

Django reads the header before the first middleware, and fails on some of what a caller may send: an encoding that there
is not, a number of thousands of digits (RFC 2231). Long ones take it a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.utils.http import parse_header_parameters

MAX_LENGTH = 255
"""In characters: a boundary has up to 70."""

UNREADABLE = "unreadable"
"""What stands there then: a media type that nothing takes."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def with_readable_content_type(application: Application) -> Application:
    """Return a WSGI application that is asked with a Content-Type which can be read, whatever was sent."""

    def ask(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not _is_readable(environ.get("CONTENT_TYPE", "")):
            environ["CONTENT_TYPE"] = UNREADABLE
        return application(environ, start_response)

    return ask


def _is_readable(header: str) -> bool:
    if len(header) > MAX_LENGTH:
        return False
    try:
        parse_header_parameters(header)
    except (ValueError, LookupError):
        return False
    return True
