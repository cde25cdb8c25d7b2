"""What an installation that strangers reach, behind TLS, does not start without."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured

SHORTEST_SECRET_KEY = 50  # characters, as Django's own check has it
FEWEST_CHARACTERS = 5  # different ones
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})


def check(*, secret_key: str, debug: bool, hosts: Sequence[str]) -> None:
    """Refuse settings that HTTPS=true does not go with. The messages leave the key out.

    Raises:
        ImproperlyConfigured: the key could be guessed, errors would show pages of ours, or no host is named.
    """
    if debug:
        raise ImproperlyConfigured("DEBUG is on with HTTPS=true: its pages show settings and code to whoever asks")
    if len(secret_key) < SHORTEST_SECRET_KEY or len(set(secret_key)) < FEWEST_CHARACTERS:
        raise ImproperlyConfigured(
            f"SECRET_KEY is too short or too simple for HTTPS=true: {SHORTEST_SECRET_KEY} random characters or more, as"
            ' from: python -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    if not set(hosts) - LOCAL:
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS is not set, or names this machine only: with HTTPS=true name the hosts that callers use,"
            " comma-separated"
        )
    if "*" in hosts:
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS is *: with HTTPS=true name the hosts that callers use, since links are made of what they"
            " send (a leading dot stands for all below: .example.org)"
        )
