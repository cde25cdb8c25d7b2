"""Where callbacks may go."""

from __future__ import annotations

from django.conf import settings

from egress import Policy


def policy() -> Policy:
    """Return where this installation lets callbacks go."""
    schemes = {"https", "http"} if settings.RUNYARD_CALLBACK_ALLOW_HTTP else {"https"}
    return Policy(frozenset(schemes), allow_private=settings.RUNYARD_CALLBACK_ALLOW_PRIVATE)
