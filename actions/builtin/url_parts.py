"""A URL taken apart and written one way (RFC 3986 section 6), where browsers and that RFC agree on what it means.

What does not change which resource is meant is made uniform: case of scheme and host, default port, dot segments,
percent-encoding. What may change it stays: order of the query, empty path segments, a trailing slash or dot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_plus

from actions.builtin.url_host import BadHost, Host, parse_host
from actions.exceptions import ActionError

DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}

# Browsers cut these off, and take tabs and line ends out of the middle: they come from copying and wrapping.
EDGES = "".join(map(chr, range(0x21)))
LINE_ENDS = str.maketrans("", "", "\t\r\n")

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.ASCII | re.DOTALL)
PARTS = re.compile(r"//(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?", re.DOTALL)
AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>.*))?", re.DOTALL)

UNRESERVED = "-._~"
PATH_SAFE = UNRESERVED + "!$&'()*+,;=:@/"
QUERY_SAFE = PATH_SAFE + "?"
PLAIN_PATH = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/]*", re.ASCII)
PLAIN_QUERY = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?]*", re.ASCII)
ESCAPE = re.compile(r"(%[0-9A-Fa-f]{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pair:
    """One part of a query between two `&`: as it stands, normalised, and what it says."""

    text: str
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class UrlParts:
    """An absolute URL in normal form, without its credentials. `path` begins with `/`; texts are percent-encoded."""

    scheme: str
    host: Host
    port: int
    path: str
    pairs: tuple[Pair, ...]
    fragment: str | None
    has_credentials: bool

    @property
    def is_default_port(self) -> bool:
        return self.port == DEFAULT_PORTS[self.scheme]

    def without(self, dropped: Collection[Pair]) -> UrlParts:
        """Return the URL without some parts of its query."""
        return replace(self, pairs=_unless_empty(pair for pair in self.pairs if pair not in dropped))

    def to_url(self) -> str:
        """Write the URL; an empty query or fragment leaves no trace."""
        port = "" if self.is_default_port else f":{self.port}"
        query = "&".join([pair.text for pair in self.pairs])
        return (
            f"{self.scheme}://{self.host.in_url}{port}{self.path}"
            f"{'?' + query if query else ''}{'#' + self.fragment if self.fragment else ''}"
        )


def split_url(text: str) -> UrlParts:
    """Take an absolute URL apart and normalise it.

    Raises:
        ActionError: `NOT_ABSOLUTE`, `UNSUPPORTED_SCHEME`, `BAD_HOST` or `BAD_PORT`.
    """
    scheme, rest = _scheme(text.strip(EDGES).translate(LINE_ENDS))
    match = PARTS.fullmatch(with_slashes(rest))
    if match is None:
        raise ActionError("NOT_ABSOLUTE", f"After '{scheme}:' must come '//' and a host.")
    credentials, _, place = match["authority"].rpartition("@")
    host, port = _host_and_port(place, scheme)
    return UrlParts(
        scheme=scheme,
        host=host,
        port=port,
        path=_without_dot_segments(_encoded(match["path"], PLAIN_PATH, PATH_SAFE) or "/"),
        pairs=_pairs(_encoded(match["query"] or "", PLAIN_QUERY, QUERY_SAFE)),
        fragment=_encoded(match["fragment"] or "", PLAIN_QUERY, QUERY_SAFE) or None,
        has_credentials=bool(credentials.strip(":")),
    )


def _scheme(text: str) -> tuple[str, str]:
    match = SCHEME.fullmatch(text)
    # "example.org:8080/x" has no scheme, though it looks as if.
    if match is None or ("." in match[1] and not match[2].startswith("//")) or match[2][:1].isdecimal():
        raise ActionError("NOT_ABSOLUTE", "The URL has no scheme: write it with https:// in front.")
    scheme = match[1].lower()
    if scheme not in DEFAULT_PORTS:
        supported = [*DEFAULT_PORTS]
        raise ActionError(
            "UNSUPPORTED_SCHEME",
            f"The scheme '{scheme[:30]}' is not one of {', '.join(supported)}.",
            {"scheme": scheme[:30], "supported": supported},
        )
    return scheme, match[2]


def with_slashes(rest: str) -> str:
    """Return `rest` with the slashes that browsers see where backslashes stand: all before the query."""
    if "\\" not in rest:
        return rest
    end = min(position for position in (rest.find("?"), rest.find("#"), len(rest)) if position >= 0)
    return rest[:end].replace("\\", "/") + rest[end:]


def _host_and_port(place: str, scheme: str) -> tuple[Host, int]:
    match = AUTHORITY.fullmatch(place)
    try:
        host = parse_host(match["host"] if match else place)
    except BadHost as error:
        raise ActionError("BAD_HOST", f"The host cannot be used: {error}.") from None
    port = match and match["port"]
    if not port:
        return host, DEFAULT_PORTS[scheme]
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 20 else -1
    if not 0 <= number <= 65_535:
        raise ActionError("BAD_PORT", "The port must be a number from 0 to 65535.", {"min": 0, "max": 65_535})
    return host, number


def _encoded(text: str, plain: re.Pattern[str], safe: str) -> str:
    """Return `text` with escapes in upper case where they are needed and none where they are not."""
    if plain.fullmatch(text):
        return text
    pieces = ESCAPE.split(text)
    pieces[::2] = [quote(piece, safe=safe) for piece in pieces[::2]]
    pieces[1::2] = [_escape(piece) for piece in pieces[1::2]]
    return "".join(pieces)


def _escape(escape: str) -> str:
    character = chr(int(escape[1:], 16))
    if character.isascii() and (character.isalnum() or character in UNRESERVED):
        return character
    return escape.upper()


def _without_dot_segments(path: str) -> str:
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _pairs(query: str) -> tuple[Pair, ...]:
    return _unless_empty([_pair(text) for text in query.split("&")])


def _unless_empty(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return the pairs; none where there is nothing but `&` in the query."""
    kept = tuple(pairs)
    return kept if any(pair.text for pair in kept) else ()


def _pair(text: str) -> Pair:
    name, equals, value = text.partition("=")
    return Pair(text, _decoded(name), _decoded(value) if equals else None)


def _decoded(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    # JSON answers hold no NUL, so that one stays as it is written.
    return unquote_plus(text).replace("\x00", "%00")
