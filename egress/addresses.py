"""Which addresses may not be called: a deny list of our own, because `ipaddress.is_private` and its kin miss many.

The most specific network that holds an address decides. Of IPv6, only what is allocated for global use and not listed
may be called; the forms that carry an IPv4 address are refused whatever they carry.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

Address = IPv4Address | IPv6Address


class Refused(NamedTuple):
    """A network that may not be called, and why; with `is_private`, a policy may open it."""

    network: IPv4Network | IPv6Network
    why: str
    is_private: bool = False


def _never(network: str, why: str) -> Refused:
    return Refused(ip_network(network), why)


def _private(network: str, why: str) -> Refused:
    return Refused(ip_network(network), why, is_private=True)


LISTED = [
    # The IANA IPv4 Special-Purpose Address Registry.
    _never("0.0.0.0/8", "this network (RFC 791)"),
    _private("10.0.0.0/8", "a private network (RFC 1918)"),
    _private("100.64.0.0/10", "carrier-grade NAT (RFC 6598)"),
    _private("127.0.0.0/8", "this machine (RFC 1122)"),
    _never("169.254.0.0/16", "link-local, where clouds keep their metadata (RFC 3927)"),
    _private("172.16.0.0/12", "a private network (RFC 1918)"),
    _never("192.0.0.0/24", "protocol assignments, Oracle's metadata at 192.0.0.192 among them (RFC 6890)"),
    _never("192.0.2.0/24", "documentation (RFC 5737)"),
    _never("192.31.196.0/24", "AS112 name servers (RFC 7535)"),
    _never("192.52.193.0/24", "multicast tunnels (RFC 7450)"),
    _never("192.88.99.0/24", "6to4 relays (RFC 7526)"),
    _private("192.168.0.0/16", "a private network (RFC 1918)"),
    _never("192.175.48.0/24", "AS112 name servers (RFC 7534)"),
    _never("198.18.0.0/15", "benchmarking (RFC 2544)"),
    _never("198.51.100.0/24", "documentation (RFC 5737)"),
    _never("203.0.113.0/24", "documentation (RFC 5737)"),
    _never("224.0.0.0/4", "multicast (RFC 5771)"),
    _never("240.0.0.0/4", "reserved or broadcast (RFC 1112, RFC 919)"),
    # The IANA IPv6 Special-Purpose Address Registry, as far as it lies in the global range.
    _never("2001::/23", "protocol assignments, Teredo among them (RFC 2928, RFC 4380)"),
    _never("2001:db8::/32", "documentation (RFC 3849)"),
    _never("2002::/16", "6to4 (RFC 3056)"),
    _never("2620:4f:8000::/48", "AS112 name servers (RFC 7534)"),
    _never("3fff::/20", "documentation (RFC 9637)"),
    # Outside of it everything is refused; these say what they are, and which of them a policy may open.
    _never("::/0", "not an address of the global range 2000::/3 (RFC 4291)"),
    _never("::/128", "unspecified (RFC 4291)"),
    _private("::1/128", "this machine (RFC 4291)"),
    _never("::/96", "an IPv4-compatible form (RFC 4291)"),
    _never("::ffff:0:0/96", "an IPv4-mapped form (RFC 4291)"),
    _never("::ffff:0:0:0/96", "an IPv4-translated form (RFC 2765)"),
    _never("64:ff9b::/96", "a NAT64 form (RFC 6052)"),
    _never("64:ff9b:1::/48", "a local NAT64 form (RFC 8215)"),
    _never("100::/64", "discard only (RFC 6666)"),
    _never("5f00::/16", "segment routing (RFC 9602)"),
    _private("fc00::/7", "a unique local address (RFC 4193)"),
    _never("fe80::/10", "link-local (RFC 4291)"),
    _never("fec0::/10", "site-local (RFC 3879)"),
    _never("ff00::/8", "multicast (RFC 4291)"),
    # Where clouds answer their own machines, inside ranges that are otherwise global or may be opened.
    _never("100.100.100.200/32", "Alibaba Cloud's metadata"),
    _never("168.63.129.16/32", "Azure's services for its machines"),
    _never("fd00:ec2::/32", "Amazon's services for its machines, metadata at fd00:ec2::254 among them"),
    _never("fd00:42::42/128", "Scaleway's metadata"),
    _never("fd00:100::100:200/128", "Alibaba Cloud's metadata"),
    _never("fd00:a9fe:a9fe::1/128", "Linode's metadata"),
    _never("fd00:c1::a9fe:a9fe/128", "Oracle Cloud's metadata"),
    _never("fd20:ce::254/128", "Google Cloud's metadata"),
]
GLOBAL_IPV6 = ip_network("2000::/3")
ISATAP = 0x0000_5EFE
"""What stands before the IPv4 address in an ISATAP address, but for one bit (RFC 5214)."""

_MOST_SPECIFIC_FIRST = sorted(LISTED, key=lambda listed: listed.network.prefixlen, reverse=True)


def is_refused(ip: Address | str, allow_private: bool) -> bool:
    """Return whether an address may not be called."""
    return reason(ip, allow_private) is not None


def reason(ip: Address | str, allow_private: bool = False) -> str | None:
    """Return what keeps an address from being called, or None if it may be; ValueError if it is no address."""
    address = ip_address(ip)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return "an address with a zone, which only means something on this machine (RFC 4007)"
        if (int(address) >> 32) & 0xFDFF_FFFF == ISATAP and is_refused(IPv4Address(int(address) & 0xFFFF_FFFF), False):
            return "an ISATAP form of an address that may not be called (RFC 5214)"
    for listed in _MOST_SPECIFIC_FIRST:
        if address in listed.network and not (listed.network.prefixlen == 0 and address in GLOBAL_IPV6):
            return None if listed.is_private and allow_private else listed.why
    return None
