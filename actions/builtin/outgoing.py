"""HTTP for the built-in actions: `egress` under this installation's policy, its errors as labels of an action."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from django.conf import settings

from actions import ActionError, Context
from actions.problems import printable
from egress import Answer, BadRequest, BadUrl, Client, EgressError, Policy, fetch

SCHEMES = frozenset({"http", "https"})
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
MAX_REDIRECTS = 5
MAX_TOLD_URL_LENGTH = 2_000

ERRORS: Mapping[str, str] = {
    "BAD_URL": "The URL, or one it redirects to, is malformed, not http or https, or has a user and password in it.",
    "REFUSED_ADDRESS": "The host is, or resolves to, an address that is not called from here, such as a private one.",
    "DNS_FAILED": "The host's name has no address, or the name servers did not say. Check the name, or try later.",
    "CONNECT_FAILED": "Nobody took the connection. Check host and port, or try later.",
    "TLS_FAILED": "The server did not prove to be the host, or no encryption could be agreed on.",
    "TIMED_OUT": "The answer was not there, wholly, within timeout_s. Raise it, or try later.",
    "TOO_LARGE": "The answer has more than max_bytes. Raise it, if there is room.",
    "TOO_MANY_REDIRECTS": f"The URL redirects more than {MAX_REDIRECTS} times.",
    "BAD_ANSWER": "What came is not HTTP, broke off, or is not encoded as it says.",
}
"""What the labels of a request that got no answer mean, for the catalogue."""

HTTP_STATUS_ERROR: Mapping[str, str] = {
    "HTTP_STATUS": "The server answered with an error; params.status says which, params.retry_after when to try again."
}

# What is left of the action's time is also for reading the answer, so that a call always ends by itself.
SHARE_OF_TIME_LEFT = 0.75
SHORTEST_S = 0.1


def send(
    method: str,
    url: str,
    *,
    context: Context,
    timeout_s: float,
    max_bytes: int,
    headers: Mapping[str, str],
    body: bytes = b"",
    truncate: bool = False,
    follow_redirects: bool = True,
) -> Answer:
    """Send a request and return the answer, whatever its status.

    `timeout_s` is for all of it, redirects included; less where the action's own time limit is near. `max_bytes` is the
    size of the answer's body, decompressed; with `truncate` the rest is left out, else it is an error. The headers are
    such as `egress.check_header` takes: another one is a mistake of the action's, and no error with a label.

    Raises:
        ActionError: one of `ERRORS`.
    """
    left_s = (context.deadline_at - time.time()) * SHARE_OF_TIME_LEFT
    limits: dict[str, Any] = {
        "timeout_s": round(max(min(timeout_s, left_s), SHORTEST_S), 3),
        "max_bytes": max_bytes,
        "max_redirects": MAX_REDIRECTS if follow_redirects else 0,
    }
    client = _client(settings.RUNYARD_ACTIONS_ALLOW_PRIVATE)
    # A kept connection may be closed just as a request is sent, and these are not sent again.
    is_alone = method in ("POST", "PATCH")
    fetched = partial(fetch, policy=client.policy) if is_alone else client.fetch
    try:
        return fetched(method, url, headers=headers, body=body, truncate=truncate, **limits)
    except BadRequest:  # a header that was not checked: a defect, and not for the caller to act on
        raise
    except EgressError as error:
        raise ActionError(error.code, error.message, _params(error, url, limits)) from error


@cache
def _client(allow_private: bool) -> Client:
    """Return the process's client: many inputs of a run are often pages of one host, which then share connections."""
    return Client(Policy(schemes=SCHEMES, allow_private=allow_private))


def status_error(answer: Answer) -> ActionError:
    """Return the error for an answer whose status is one."""
    retry_after = answer.header("retry-after")
    params: dict[str, Any] = {"status": answer.status, "url": told(answer.url)}
    message = f"The server answered {answer.status} {answer.reason}".rstrip() + "."
    if retry_after:
        params["retry_after"] = printable(retry_after, 100)
        message += f" It asks to wait: Retry-After is {params['retry_after']}."
    return ActionError("HTTP_STATUS", message, params)


def media_type(answer: Answer) -> str:
    """Return what an answer says it is, in lower case and without parameters: `text/html`; "" if it does not say."""
    return printable((answer.header("content-type") or "").partition(";")[0].strip().lower(), 100)


def told(url: str) -> str:
    """Return a URL as it may stand in an error."""
    return printable(url, MAX_TOLD_URL_LENGTH)


LIMIT_OF = {"TIMED_OUT": "timeout_s", "TOO_LARGE": "max_bytes", "TOO_MANY_REDIRECTS": "max_redirects"}


def _params(error: EgressError, url: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    # A URL that was refused may be refused for the password in it.
    params = {} if isinstance(error, BadUrl) else {"url": told(url)}
    limit = LIMIT_OF.get(error.code)
    return params | {limit: limits[limit]} if limit else params
