"""Where an answer leads on to, and what is sent there."""

from __future__ import annotations

from urllib.parse import urljoin

from egress.answer import Answer
from egress.errors import BadAnswer, BadUrl
from egress.request import Request
from egress.urls import Target

FOLLOWED = frozenset({301, 302, 303, 307, 308})
CARRIED = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-type",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "pragma",
        "range",
        "user-agent",
    }
)
"""Headers that go to another origin. All others may be credentials, whatever they are called."""


def location(target: Target, answer: Answer) -> str | None:
    """Return the URL that an answer leads on to, or None if it does not; raises BadAnswer or BadUrl."""
    found = {value for name, value in answer.headers if name.lower() == "location" and value}
    if answer.status not in FOLLOWED or not found:
        return None
    if len(found) > 1:
        raise BadAnswer("The answer leads on to more than one place.")
    # Headers are read as ISO-8859-1. A Location that is not ASCII is UTF-8 nearly always; what is not stays its bytes.
    reference = found.pop().encode("iso-8859-1").decode("utf-8", "surrogateescape")
    try:
        return urljoin(target.url, reference)
    except ValueError:
        raise BadUrl("After a redirect: The URL cannot be read.") from None


def follow(request: Request, status: int, *, before: Target, after: Target) -> Request:
    """Return the request for the next hop (RFC 9110, sections 15.4.2 to 15.4.9)."""
    method, headers, body = request.method, request.headers, request.body
    if (status == 303 and method != "HEAD") or (status in {301, 302} and method == "POST"):
        method, body = "GET", b""
        headers = tuple(pair for pair in headers if not pair[0].lower().startswith("content-"))
    if before.origin != after.origin:
        headers = tuple(pair for pair in headers if pair[0].lower() in CARRIED)
    return Request(method, headers, body, request.may_repeat)
