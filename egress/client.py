"""Sending a request and reading its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from egress.answer import Answer
from egress.policy import Policy

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class Client:
    """Requests under one policy, over connections that are kept. Threads may share it."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        timeout_s: float,
        max_bytes: int,
        truncate: bool = False,
        max_redirects: int = 0,
        decompress: bool = True,
    ) -> Answer:
        """Send a request and return the answer, whatever its status; raises one of the EgressErrors."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the kept connections."""


def fetch(
    method: str,
    url: str,
    *,
    policy: Policy,
    headers: Headers = (),
    body: bytes = b"",
    timeout_s: float,
    max_bytes: int,
    truncate: bool = False,
    max_redirects: int = 0,
    decompress: bool = True,
) -> Answer:
    """Do as `Client.fetch`, over a connection that is not kept."""
    raise NotImplementedError
