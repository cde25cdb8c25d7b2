"""Where callbacks may go: a URL and headers, checked before a launch is stored (contract section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from egress import BadRequest, EgressError, Policy, check_header
from egress.urls import check_url
from rest.errors import BadInput
from webhooks.models import Destination
from webhooks.receivers import receiver_of
from workspaces.models import Workspace


@dataclass(frozen=True, slots=True)
class CheckedDestination:
    """A URL and headers that may be called."""

    url: str
    origin: str
    headers: tuple[tuple[str, str], ...]

    def store(self, workspace: Workspace, *, now: datetime) -> Destination:
        """Return the row, whose receiver is stored; the launch stores it with its own."""
        receiver = receiver_of(workspace, self.origin)
        return Destination(
            receiver=receiver, url=self.url, headers=[list(pair) for pair in self.headers], created_at=now
        )


def policy() -> Policy:
    """Return where callbacks may go, by the settings."""
    schemes = {"https", "http"} if settings.RUNYARD_CALLBACK_ALLOW_HTTP else {"https"}
    return Policy(frozenset(schemes), allow_private=settings.RUNYARD_CALLBACK_ALLOW_PRIVATE)


def check(url: str, headers: Mapping[str, str], *, field: str = "callback") -> CheckedDestination:
    """Return the destination that `url` and `headers` are.

    Raises:
        BadInput: it may not be called; `params.field` says which part, under `field`.
    """
    try:
        target = check_url(url, policy())
    except EgressError as error:
        raise BadInput(f"{field}.url: {error.message}", {"field": f"{field}.url"}) from None
    for name, value in headers.items():
        try:
            check_header(name, value)
        except BadRequest as error:
            raise BadInput(f"{field}.headers: {error.message}", {"field": f"{field}.headers.{name}"}) from None
    scheme, host, port = target.origin
    return CheckedDestination(target.url, f"{scheme}://{host}:{port}", tuple(headers.items()))
