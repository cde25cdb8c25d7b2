"""Which addresses may not be called, and which of them a policy may open."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egress.addresses import is_refused, reason

PRIVATE = {
    "127.0.0.1": "this machine",
    "127.255.255.254": "this machine",
    "10.0.0.1": "private network",
    "172.16.0.1": "private network",
    "172.31.255.255": "private network",
    "192.168.0.1": "private network",
    "100.64.0.1": "carrier-grade NAT",
    "100.127.255.255": "carrier-grade NAT",
    "::1": "this machine",
    "fc00::1": "unique local",
    "fdff:ffff::1": "unique local",
}
NEVER = {
    "0.0.0.0": "this network",
    "0.1.2.3": "this network",
    "169.254.0.1": "link-local",
    "169.254.169.254": "link-local",
    "168.63.129.16": "Azure",
    "100.100.100.200": "Alibaba",
    "192.0.0.192": "Oracle",
    "192.0.0.1": "protocol assignments",
    "192.0.2.1": "documentation",
    "192.31.196.1": "AS112",
    "192.52.193.1": "multicast tunnels",
    "192.88.99.1": "6to4 relays",
    "192.175.48.1": "AS112",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::7f00:1": "IPv4-compatible",
    "::808:808": "IPv4-compatible",
    "::ffff:127.0.0.1": "IPv4-mapped",
    "::ffff:8.8.8.8": "IPv4-mapped",
    "::ffff:0:8.8.8.8": "IPv4-translated",
    "64:ff9b::127.0.0.1": "NAT64",
    "64:ff9b::8.8.8.8": "NAT64",
    "64:ff9b:1::1": "NAT64",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff": "NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:2::1": "protocol assignments",
    "2001:10::1": "protocol assignments",
    "2001:db8::1": "documentation",
    "2002::1": "6to4",
    "2002:7f00:1::": "6to4",
    "2002:808:808::": "6to4",
    "2620:4f:8000::1": "AS112",
    "3fff::1": "documentation",
    "5f00::1": "segment routing",
    "fd00:ec2::254": "Amazon",
    "fd00:ec2::23": "Amazon",
    "fd00:42::42": "Scaleway",
    "fd00:100::100:200": "Alibaba",
    "fd00:a9fe:a9fe::1": "Linode",
    "fd00:c1::a9fe:a9fe": "Oracle",
    "fd20:ce::254": "Google",
    "fe80::1": "link-local",
    "febf:ffff::1": "link-local",
    "fe80::1%eth0": "zone",
    "2606:4700::1111%1": "zone",
    "::1%lo": "zone",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "4000::1": "not an address of the global range",
    "e000::1": "not an address of the global range",
    "2606:4700::5efe:10.0.0.1": "ISATAP",
    "2606:4700::200:5efe:127.0.0.1": "ISATAP",
}
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2606:4700::5efe:8.8.8.8",
    "2a00:1450::1",
    "3ffe::1",
]


@pytest.mark.parametrize("address", [*PRIVATE, *NEVER])
def test_what_may_not_be_called(address: str) -> None:
    assert (PRIVATE | NEVER)[address] in str(reason(address))
    assert is_refused(address, allow_private=False)


@pytest.mark.parametrize("address", [*PRIVATE, *ALLOWED])
def test_what_a_policy_for_private_addresses_opens(address: str) -> None:
    assert not is_refused(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_what_no_policy_opens(address: str) -> None:
    assert is_refused(address, allow_private=True)


@pytest.mark.parametrize("address", ALLOWED)
def test_what_may_be_called(address: str) -> None:
    assert not is_refused(address, allow_private=False)


@given(st.ip_addresses())
@example(ip_address("fec0::"))
def test_what_python_calls_not_global_is_refused(address: IPv4Address | IPv6Address) -> None:
    """Our list has more than Python's, never less."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert is_refused(address, allow_private=False)


@given(st.ip_addresses(v=4), st.integers(0, 2**32 - 1))
def test_no_form_that_carries_an_ipv4_address_may_be_called(inner: IPv4Address, rest: int) -> None:
    number = int(inner)
    forms = {
        "mapped": 0xFFFF << 32 | number,
        "compatible": number,
        "translated": 0xFFFF << 48 | number,
        "nat64": 0x64FF9B << 96 | number,
        "local nat64": 0x64FF9B0001 << 80 | number,
        "6to4": 0x2002 << 112 | number << 80 | rest,
        "teredo": 0x20010000 << 96 | rest << 64 | number ^ 0xFFFFFFFF,
    }
    for name, form in forms.items():
        if IPv6Address(form) != IPv6Address("::1"):
            assert is_refused(IPv6Address(form), allow_private=True), name


def test_what_is_no_address() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        reason("localhost")
