"""The host of a URL, written one way however it was spelled.

Internationalised names follow IDNA 2008 with the mapping of UTS 46 (upper case, full-width letters, other dots);
IPv4 addresses are read in every spelling that browsers take (`0x7f.1`, `2130706433`); IPv6 is written as RFC 5952.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

import idna

HostKind = Literal["domain", "single_label", "localhost", "ipv4", "ipv6"]

MAX_HOST_LENGTH = 253
# Long before this a host is wrong, and the rules of IDNA take time.
MAX_RAW_LENGTH = 1_000

LABELS = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
ZONE = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)
# Where the last label is a number, the whole host can only be an address.
ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.ASCII)


class BadHost(ValueError):
    """The text cannot be the host of a URL; the message says why, and echoes nothing of it."""


@dataclass(frozen=True, slots=True)
class Host:
    """`ascii` goes over the wire, `unicode` is for people; IPv6 addresses stand without brackets.

    `is_public` says of an address whether it can be reached over the internet, None of a name. `zone` is the
    interface of a link-local IPv6 address.
    """

    ascii: str
    unicode: str
    kind: HostKind
    is_public: bool | None = None
    zone: str | None = None

    @property
    def in_url(self) -> str:
        """As it stands in a URL."""
        if self.kind != "ipv6":
            return self.ascii
        return f"[{self.ascii}%25{self.zone}]" if self.zone else f"[{self.ascii}]"


def parse_host(text: str) -> Host:
    """Return the host that `text` names, as it stands between `//` or `@` and the port.

    Raises:
        BadHost: it names none.
    """
    if text.startswith("["):
        return _ipv6(text)
    name = text.lower()
    if not LABELS.fullmatch(name):
        name = _to_ascii(text)
    if ENDS_IN_NUMBER.fullmatch(name):
        return _ipv4(name.removesuffix("."))
    bare = name.removesuffix(".")
    if len(bare) > MAX_HOST_LENGTH:
        raise BadHost(f"a host name has at most {MAX_HOST_LENGTH} characters")
    return Host(name, _to_unicode(name), _kind(bare))


def _kind(name: str) -> HostKind:
    if name == "localhost" or name.endswith(".localhost"):
        return "localhost"
    return "domain" if "." in name else "single_label"


def _to_ascii(text: str) -> str:
    if not text:
        raise BadHost("there is no host")
    if len(text) > MAX_RAW_LENGTH:
        raise BadHost(f"a host name has at most {MAX_HOST_LENGTH} characters")
    try:
        name = unquote_to_bytes(text).decode() if "%" in text else text
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        name = mapped if mapped.isascii() else idna.encode(mapped).decode()
    except UnicodeDecodeError:
        raise BadHost("the percent-encoded bytes in the host are not UTF-8") from None
    except UnicodeError:
        raise BadHost("the host holds characters that no domain name may have") from None
    if not LABELS.fullmatch(name):
        raise BadHost("a host name is labels of 1 to 63 letters, digits and hyphens, with dots between them")
    return name


def _to_unicode(name: str) -> str:
    if "xn--" not in name:
        return name
    return ".".join(_label_to_unicode(label) for label in name.split("."))


def _label_to_unicode(label: str) -> str:
    """Return what a punycode label says; itself, where it says nothing that IDNA 2008 allows."""
    if not label.startswith("xn--"):
        return label
    try:
        return idna.decode(label)
    except UnicodeError:
        return label


def _ipv4(text: str) -> Host:
    numbers = [_ipv4_number(part) for part in text.split(".")]
    *leading, last = numbers
    if len(numbers) > 4 or any(number > 255 for number in leading) or last >= 256 ** (5 - len(numbers)):
        raise BadHost("a host that ends in a number must be an IPv4 address")
    value = last + sum(number << (8 * (3 - position)) for position, number in enumerate(leading))
    address = ipaddress.IPv4Address(value)
    return Host(str(address), str(address), "ipv4", is_public=_is_public(address))


def _ipv4_number(text: str) -> int:
    base = 16 if text.startswith("0x") else 8 if text.startswith("0") and text != "0" else 10
    digits = text[2:] if base == 16 else text
    try:
        # The length keeps a number of a thousand digits from costing anything.
        if len(digits) > 32 or "_" in digits:
            raise ValueError(digits)
        return int(digits or "0", base)
    except ValueError:
        raise BadHost("a host that ends in a number must be an IPv4 address") from None


def _ipv6(text: str) -> Host:
    if not text.endswith("]"):
        raise BadHost("an IPv6 address stands in brackets, with nothing but a port after them")
    literal, percent, zone = text[1:-1].partition("%")
    if percent:
        zone = zone.removeprefix("25")
        if not ZONE.fullmatch(zone):
            raise BadHost("the zone of the IPv6 address must be 1 to 64 letters, digits, '.', '_', '~' or '-'")
    try:
        address = ipaddress.IPv6Address(literal)
    except ValueError:
        raise BadHost("what stands in brackets is not an IPv6 address") from None
    if zone and not address.is_link_local:
        raise BadHost("only a link-local IPv6 address has a zone")
    public = _is_public(address.ipv4_mapped or address)
    return Host(address.compressed, address.compressed, "ipv6", is_public=public, zone=zone or None)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast
