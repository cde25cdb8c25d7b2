"""What is sent: method, headers and body, checked so that they are one request and no other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from egress.decoding import OFFERED
from egress.errors import BadRequest

USER_AGENT = "Runyard/0.1.0"
OURS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that frame the request, name its receiver, or are for a proxy (RFC 9110, section 7.6.1)."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Methods that may be sent again when a connection closed without an answer (RFC 9110, section 9.2.2)."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """Headers are in order, and may have a name more than once. With `may_repeat` the receiver knows doubles."""

    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    may_repeat: bool = False

    @property
    def may_be_repeated(self) -> bool:
        """Whether it may be sent again when nobody knows if it was acted on."""
        return self.may_repeat or self.method in IDEMPOTENT

    @property
    def is_for_its_connection(self) -> bool:
        """Whether these credentials are for all that follows on the connection, whoever sends it (RFC 4559)."""
        return any(
            name.lower() == "authorization" and value.lower().startswith(("ntlm", "negotiate"))
            for name, value in self.headers
        )


def check_header(name: str, value: str) -> None:
    """Raise BadRequest if a header cannot be sent, or is not the caller's to send."""
    if not _TOKEN.fullmatch(name):
        raise BadRequest(f"{name[:80]!r} is not the name of a header.")
    if name.lower() in OURS:
        raise BadRequest(f"The header {name} is not the caller's to send.")
    if not _VALUE.fullmatch(value):
        # Without the value, which may be a secret.
        raise BadRequest(f"The value of the header {name[:80]} has a character that headers cannot carry.")


def check_request(method: str, headers: Headers, body: bytes, *, decompress: bool, may_repeat: bool = False) -> Request:
    """Return the request that these make, with the headers that we add; raises BadRequest."""
    if not _TOKEN.fullmatch(method) or method.upper() == "CONNECT":
        raise BadRequest(f"{method[:40]!r} is not a method that can be sent.")
    pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
    for name, value in pairs:
        check_header(name, value)
    named = {name.lower() for name, _ in pairs}
    added = (("User-Agent", USER_AGENT), ("Accept-Encoding", OFFERED if decompress else "identity"))
    sent = pairs + tuple(pair for pair in added if pair[0].lower() not in named)
    return Request(method.upper(), sent, body, may_repeat)
