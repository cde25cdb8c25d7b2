"""Where callbacks may go, and with which headers: checked when they are asked for (contract, section 3).

What is checked here is for the caller to learn early. `egress` decides again whenever a callback connects.
Headers may be secrets, and so may what a URL has behind its host: nothing here tells them, in no error and no `repr`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.conf import settings

from egress import BadRequest, DnsFailed, EgressError, TimedOut, check_header
from egress.connecting import addresses_of
from egress.resolver import resolve
from egress.urls import Target, check_url
from rest.database import give_connection_back
from rest.errors import BadInput
from webhooks import receivers
from webhooks.models import Destination
from webhooks.policy import policy
from workspaces.models import Workspace

LOOKUP_S = 2.0
OURS_BY_PREFIX = ("content-", "proxy-", "webhook-")
"""Headers that describe the body, are for a proxy, or carry the signature. `egress.request.OURS` has the others."""
SHOWN_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class CheckedDestination:
    """A URL as it was sent, its origin (`https://host`, `https://host:8443`), and headers in their order."""

    url: str = field(repr=False)
    origin: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    def store(self, workspace: Workspace, *, now: datetime) -> Destination:
        """Return the row of this destination, unsaved; its receiver is stored.

        Not for a transaction that goes on for long: others that call the same receiver would wait for it.
        """
        receiver = receivers.receiver_of(workspace, self.origin)
        return Destination(
            receiver=receiver, url=self.url, headers=[list(pair) for pair in self.headers], created_at=now
        )


def check(url: str, headers: Mapping[str, Any], *, field: str = "callback") -> CheckedDestination:
    """Return the destination that a URL and headers make, as the fields `url` and `headers` of `field` ("": the body).

    May look a name up, which takes two seconds at most: not for a transaction. A name that is not found, or not in
    time, is accepted: there may be one when there is something to send.

    Raises:
        BadInput: `params.field` is `callback.url`, `callback.headers` or `callback.headers.<name>`.
    """
    prefix = f"{field}." if field else ""
    pairs = _check_headers(headers, f"{prefix}headers")
    return CheckedDestination(url, _check_url(url, f"{prefix}url"), pairs)


def _check_url(url: str, field: str) -> str:
    """Return the origin of a URL that may be called."""
    try:
        target = check_url(url, policy())
        if target.address is None:
            _check_name(target)
    except EgressError as error:
        raise BadInput(f"{field}: {error.message}", {"field": field}) from None
    return _origin(target)


def _check_name(target: Target) -> None:
    give_connection_back()
    with contextlib.suppress(DnsFailed, TimedOut):
        addresses_of(target, policy(), resolve=resolve, timeout_s=LOOKUP_S)


def _origin(target: Target) -> str:
    return replace(target, path="").url


def _check_headers(headers: Mapping[str, Any], field: str) -> tuple[tuple[str, str], ...]:
    _refuse_more_than(
        settings.RUNYARD_MAX_CALLBACK_HEADERS, len(headers), field, "headers", "RUNYARD_MAX_CALLBACK_HEADERS"
    )
    pairs = tuple(headers.items())
    named: set[str] = set()
    for name, value in pairs:
        shown = name if len(name) <= SHOWN_NAME_LENGTH else name[:SHOWN_NAME_LENGTH] + "…"
        if reason := _reason_against(name, value, named):
            raise BadInput(f"{field}.{shown}: {reason}", {"field": f"{field}.{shown}"})
        named.add(name.lower())
    _refuse_more_than(
        settings.RUNYARD_MAX_CALLBACK_HEADER_BYTES, _size(pairs), field, "bytes", "RUNYARD_MAX_CALLBACK_HEADER_BYTES"
    )
    return pairs


def _reason_against(name: str, value: Any, named: set[str]) -> str | None:
    """Return what keeps a header from being sent, or None; `named` are those before it, in lower case."""
    if not isinstance(value, str):
        return "the value of a header is a text."
    try:
        check_header(name, value)
    except BadRequest as error:
        return error.message
    # Servers that hand headers on as variables read an underscore as the hyphen it stands for there.
    if name.lower().replace("_", "-").startswith(OURS_BY_PREFIX):
        return "Content-*, Proxy-* and webhook-* are not the caller's to send."
    if name.lower() in named:
        return "the header is there twice, in another case."
    return None


def _size(pairs: Iterable[tuple[str, str]]) -> int:
    # Names and values that can be sent take a byte for each character.
    return sum(len(name) + len(value) for name, value in pairs)


def _refuse_more_than(limit: int, count: int, field: str, what: str, setting: str) -> None:
    if count > limit:
        raise BadInput(
            f"{field}: {count:,} {what}, more than the {limit:,} allowed ({setting}).",
            {"field": field, "limit": limit, "setting": setting},
        )
