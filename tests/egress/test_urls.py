"""Reading URLs: what is refused before anything is looked up, and what is left to look up."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egress import BadUrl, EgressError, Policy, RefusedAddress
from egress.addresses import is_refused
from egress.urls import MAX_URL_LENGTH, check_url

BOTH = Policy(schemes=frozenset({"http", "https"}))
OPEN = Policy(schemes=frozenset({"http", "https"}), allow_private=True)

LOOPBACK_SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.1.",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7f.0.0.0x1",
    "0177.0.0.1",
    "0177.1",
    "017700000001",
    "00000177.0.0.01",
    "0177.0x0.0.1",
    "１２７．０．０．１",
    "127。0。0。1",
    "127｡1",
    "①②⑦.⓪.⓪.①",
    "127.0.0.\u00ad1",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "０ｘ７ｆ．１",
]
REFUSED_LITERALS = [
    "0",
    "0x0",
    "0.0.0.0",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "10.1",
    "192.168.257",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "4294967295",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[0:0:0:0:0:ffff:169.254.169.254]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "[fe80::1]",
    "[fe80::1%eth0]",
    "[fe80::1%25eth0]",
    "[fd00:ec2::254]",
    "[fd00::1]",
    "[ff02::1]",
    "[2001:db8::1]",
]
NOT_URLS = {
    "": "scheme",
    "example.com": "scheme",
    "//example.com/": "scheme",
    "ftp://example.com/": "scheme",
    "file:///etc/passwd": "scheme",
    "gopher://127.0.0.1:6379/_x": "scheme",
    "javascript:alert(1)": "scheme",
    "data:text/plain,x": "scheme",
    "http:example.com": "no host",
    "http:/example.com": "no host",
    "http:///etc/passwd": "no host",
    "http://": "no host",
    "http://.": "no host",
    "http://:80/": "no host",
    "http://user@example.com/": "user",
    "http://user:secret@example.com/": "user",
    "http://@example.com/": "user",
    "http://example.com@127.0.0.1/": "user",
    "http://example.com:80@127.0.0.1/": "user",
    "http://example.com\\@127.0.0.1/": "backslash",
    "http:\\\\127.0.0.1\\": "backslash",
    "http://example.com\\.evil.test/": "backslash",
    "http://exa\tmple.com/": "control",
    "http://example.com/\r\nX-Injected: 1": "control",
    "http://example.com/\x00": "control",
    "http://example.com/\x7f": "control",
    "\nhttp://example.com/": "control",
    "http://exa mple.com/": "neither a name",
    "http://%31%32%37.0.0.1/": "neither a name",
    "http://127%2e0.0.1/": "neither a name",
    "http://localhost%00.example.com/": "neither a name",
    "http://exam!ple.com/": "neither a name",
    "http://example..com/": "neither a name",
    "http://.example.com/": "neither a name",
    "http://127.0.0.1../": "neither a name",
    f"http://{'a' * 64}.com/": "neither a name",
    f"http://{'a.' * 127}com/": "neither a name",
    "http://☃.net/": "registered",
    "http://xn--ls8h=.la/": "neither a name",
    "http://example.com:0/": "port",
    "http://example.com:65536/": "port",
    "http://example.com:123456/": "host and port",
    "http://example.com:-1/": "host and port",
    "http://example.com:８０/": "host and port",
    "http://example.com:80:80/": "host and port",
    "http://[::1/": "cannot be read",
    "http://user:secret@exa℀mple.com/": "cannot be read",
    "http://::1/": "host and port",
    "http://[::1]x/": "host and port",
    "http://x[::1]/": "host and port",
    "http://[]/": "address|cannot be read",
    "http://[127.0.0.1]/": "address|cannot be read",
    "http://[example.com]/": "address|cannot be read",
    "http://[v1.x]/": "address|cannot be read",
    "http://[::1::2]/": "address|cannot be read",
    "http://1.2.3.4.5/": "valid address",
    "http://256.0.0.1/": "valid address",
    "http://1.2.3.08/": "valid address",
    "http://4294967296/": "valid address",
    "http://example.0x/": "valid address",
    "http://example.1/": "valid address",
    "http://example.com/\ud800": "cannot be read",
    f"http://example.com/{'a' * MAX_URL_LENGTH}": "longer",
}


@pytest.mark.parametrize("spelling", [*LOOPBACK_SPELLINGS, *REFUSED_LITERALS])
def test_addresses_are_recognised_in_every_spelling(spelling: str) -> None:
    with pytest.raises(RefusedAddress, match="may not be called"):
        check_url(f"http://{spelling}/", BOTH)
    with pytest.raises(RefusedAddress):
        check_url(f"https://{spelling}:8443/path?query", BOTH)


@pytest.mark.parametrize("spelling", LOOPBACK_SPELLINGS)
def test_a_spelling_that_is_allowed_becomes_the_plain_one(spelling: str) -> None:
    target = check_url(f"http://{spelling}:8000", OPEN)
    assert (target.host, target.address, target.url) == ("127.0.0.1", ip_address("127.0.0.1"), "http://127.0.0.1:8000/")


@pytest.mark.parametrize("url", NOT_URLS)
def test_what_is_no_url_to_call(url: str) -> None:
    with pytest.raises(BadUrl, match=NOT_URLS[url]) as caught:
        check_url(url, BOTH)
    assert "secret" not in caught.value.message


def test_http_needs_a_policy_that_has_it() -> None:
    with pytest.raises(BadUrl, match="must be https, not 'http'"):
        check_url("http://example.com/", Policy())
    assert check_url("HTTPS://example.com/", Policy()).scheme == "https"


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("https://example.com.", "https://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:/", "https://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("https://example.com?a=1", "https://example.com/?a=1"),
        ("https://example.com/a b?c d#e", "https://example.com/a%20b?c%20d"),
        ("https://example.com/é?ü=ß", "https://example.com/%C3%A9?%C3%BC=%C3%9F"),
        ("https://example.com/%2e/%zz", "https://example.com/%2e/%zz"),
        ("https://example.com/a\udce9", "https://example.com/a%E9"),
        ("https://example.com/;p=1,2/(a)*'~$&+@:!=", "https://example.com/;p=1,2/(a)*'~$&+@:!="),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://straße.example/", "https://xn--strae-oqa.example/"),
        ("https://ＥＸＡＭＰＬＥ。com/", "https://example.com/"),
        ("https://my_service.example/", "https://my_service.example/"),
        ("https://[2606:4700:4700::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
        ("https://[2606:4700:4700:0:0:0:0:1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://134744072/", "https://8.8.8.8/"),
    ],
)
def test_what_is_called(url: str, read: str) -> None:
    assert check_url(url, BOTH).url == read


DIGITS = st.sampled_from("0123456789０１２３４５６７８９①②③④⑤⑥⑦⑧⑨⓪𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗")
PARTS = st.one_of(
    st.text(DIGITS, min_size=1, max_size=10),
    st.integers(0, 2**32).map(lambda number: f"{number:o}"),
    st.integers(0, 2**32).map(lambda number: f"0{number:o}"),
    st.integers(0, 2**32).map(hex),
    st.integers(0, 255).map(str),
    st.sampled_from(["127", "169.254", "10", "0x7f", "0177", "::1", "ffff", "a", "x", "", "%31", "-", "_"]),
)
HOSTS = st.lists(PARTS, min_size=1, max_size=5).flatmap(
    lambda parts: st.lists(st.sampled_from([".", "。", "．", "｡", ":"]), min_size=len(parts), max_size=len(parts)).map(
        lambda dots: "".join(part + dot for part, dot in zip(parts, dots, strict=True)).rstrip(".")
    )
)


def numeric(host: str) -> list[str]:
    """The addresses that the system's resolver takes a host to spell, without asking anybody."""
    try:
        found = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


@given(HOSTS | st.ip_addresses().map(str) | st.ip_addresses(v=6).map("[{}]".format))
@example("127.1")
@example("0")
def test_what_the_system_takes_for_a_refused_address_is_refused(host: str) -> None:
    """Whatever the text: either it is refused, or neither it nor what we make of it is a refused address."""
    try:
        target = check_url(f"http://{host}/", BOTH)
    except EgressError:
        return
    for spelling in (host.strip("[]"), target.host):
        assert [address for address in numeric(spelling) if is_refused(address, allow_private=False)] == []
    if target.address is None:
        assert numeric(target.host) == []


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text_is_a_target_or_an_error_of_ours(text: str) -> None:
    for url in (text, f"http://{text}", f"http://example.com/{text}", f"http://example.com:{text}"):
        try:
            target = check_url(url, BOTH)
        except EgressError:
            continue
        assert target.url.isascii()
        assert check_url(target.url, BOTH) == target
