"""Reading a URL once: what is checked here is what is connected to and asked for."""

from __future__ import annotations

import functools
import re
import socket
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, urlsplit

import idna

from egress.addresses import Address, reason
from egress.errors import BadUrl, RefusedAddress
from egress.policy import Policy

PORTS = {"http": 80, "https": 443}
MAX_URL_LENGTH = 8_192
"""In characters: as much as servers commonly take in a request line."""

_MEANINGLESS = re.compile(r"[\x00-\x1f\x7f\\]")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{0,5}))?")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_AS_IT_IS = "%/?:@!$&'()*+,;=~[]"


@dataclass(frozen=True)
class Target:
    """A URL that may be called. `host` is ASCII and in lower case, `path` has the query, `address` is a literal's."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


@functools.lru_cache(maxsize=256)  # a run's callbacks all have the same URL
def check_url(url: str, policy: Policy) -> Target:
    """Return the target of a URL, without its fragment.

    Raises BadUrl, or RefusedAddress for a literal address that may not be called, in whatever spelling (contract,
    section 3). Where a name leads is found out when it is connected to.
    """
    if len(url) > MAX_URL_LENGTH:
        raise BadUrl(f"The URL is longer than {MAX_URL_LENGTH:,} characters.")
    if _MEANINGLESS.search(url):
        raise BadUrl("The URL has a control character or a backslash in it.")
    try:
        parts = urlsplit(url)
        path, query = (quote(part, safe=_AS_IT_IS, errors="surrogateescape") for part in (parts.path, parts.query))
    except ValueError:
        # Without the reason, which may quote the URL and so a password in it.
        raise BadUrl("The URL cannot be read: its host, port or characters are malformed.") from None
    if parts.scheme not in policy.schemes or parts.scheme not in PORTS:
        raise BadUrl(f"The URL's scheme must be {' or '.join(sorted(policy.schemes))}, not {parts.scheme[:20]!r}.")
    host, port = _authority(parts.netloc)
    address = _literal(host)
    if address is not None and (why := reason(address, policy.allow_private)):
        raise RefusedAddress(f"{address} may not be called: it is {why}.")
    return Target(
        scheme=parts.scheme,
        host=host if address is None else str(address),
        port=PORTS[parts.scheme] if port is None else port,
        path=(path or "/") + (f"?{query}" if query else ""),
        address=address,
    )


def _authority(text: str) -> tuple[str, int | None]:
    """Return host and port; an IPv6 address keeps its brackets."""
    if "@" in text:
        raise BadUrl("The URL has a user in it; send credentials in a header.")
    matched = _AUTHORITY.fullmatch(text)
    if not matched:
        raise BadUrl("The URL's host and port cannot be read.")
    port = int(matched[2]) if matched[2] else None
    if port is not None and not 0 < port <= 65535:
        raise BadUrl("The URL's port must be from 1 to 65535.")
    return (matched[1] if matched[1].startswith("[") else _ascii(matched[1])), port


def _ascii(host: str) -> str:
    """Return a name as name servers know it: in ASCII and lower case, without the dot at its end."""
    name = host.lower()
    if not name.isascii():
        try:
            name = idna.encode(host, uts46=True).decode("ascii")
        except UnicodeError:
            raise BadUrl("The URL's host is not a name that can be registered.") from None
    name = name.removesuffix(".")
    if not name:
        raise BadUrl("The URL has no host.")
    if not _HOST.fullmatch(name):
        raise BadUrl("The URL's host is neither a name nor an address.")
    return name


def _literal(host: str) -> Address | None:
    """Return the address that a host spells out, or None if it is a name.

    A host whose last label is a number is an IPv4 address or nothing, as browsers have it: 127.1, 0x7f000001 and
    0177.0.0.1 are the loopback address to the system's resolver too, and no name ends so.
    """
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            return IPv4Address(socket.inet_aton(host))
    except (AddressValueError, OSError):
        raise BadUrl("The URL's host is not a valid address.") from None
    return None
