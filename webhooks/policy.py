"""Where this installation lets callbacks go."""

from __future__ import annotations

from django.conf import settings

from egress import Policy


def policy() -> Policy:
    """Return the policy that the settings make: https, unless they open http or our own networks as well."""
    schemes = {"https", "http"} if settings.RUNYARD_CALLBACK_ALLOW_HTTP else {"https"}
    return Policy(frozenset(schemes), allow_private=settings.RUNYARD_CALLBACK_ALLOW_PRIVATE)
