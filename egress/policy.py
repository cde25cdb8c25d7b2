"""Where requests may go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """`schemes` are those allowed, of http and https.

    `allow_private` opens loopback, RFC 1918, CGNAT and unique local addresses; never link-local, cloud metadata,
    multicast, unspecified and reserved ones.
    """

    schemes: frozenset[str] = frozenset({"https"})
    allow_private: bool = False
