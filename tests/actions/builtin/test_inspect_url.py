from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actions import ActionError
from actions.builtin.inspect_url import InspectedUrl, Options, Url, inspect_url


def inspect(url: str, **parameters: Any) -> InspectedUrl:
    found: InspectedUrl = inspect_url(Url(url=url), parameters=Options(**parameters))
    return found


def inspect_or_label(url: str, **parameters: Any) -> InspectedUrl | str:
    try:
        return inspect(url, **parameters)
    except ActionError as error:
        return error.label


def label(url: str) -> str:
    with pytest.raises(ActionError) as caught:
        inspect(url)
    assert caught.value.label in inspect_url.errors
    return caught.value.label


def test_everything_it_says() -> None:
    url = "HTTPS://me:secret@WWW.Example.ORG:443/a/./b/../%7Euser/file.TXT?utm_source=x&q=a+b%26c&flag&q=#Top"
    found = inspect(url)
    assert json.loads(inspect_url.dump_output(found, max_bytes=10_000)) == {
        "url": "https://www.example.org/a/~user/file.TXT?q=a+b%26c&flag&q=#Top",
        "is_normal": False,
        "scheme": "https",
        "host": "www.example.org",
        "host_unicode": "www.example.org",
        "host_kind": "domain",
        "is_public_address": None,
        "zone": None,
        "port": 443,
        "is_default_port": True,
        "path": "/a/~user/file.TXT",
        "extension": "txt",
        "query": [
            {"name": "q", "value": "a b&c"},
            {"name": "flag", "value": None},
            {"name": "q", "value": ""},
        ],
        "fragment": "Top",
        "tracking_parameters": ["utm_source"],
        "has_credentials": True,
        "kind": "document",
    }


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://example.org", "http://example.org/"),
        ("  http://example.org/\n", "http://example.org/"),
        ("http://exam\nple.org/a\tb", "http://example.org/ab"),
        ("http://example.org:80/", "http://example.org/"),
        ("http://example.org:/", "http://example.org/"),
        ("https://example.org:80/", "https://example.org:80/"),
        ("http://example.org:08080/", "http://example.org:8080/"),
        ("http://example.org./", "http://example.org./"),
        ("http://example.org/?", "http://example.org/"),
        ("http://example.org/#", "http://example.org/"),
        ("http://example.org?a#b", "http://example.org/?a#b"),
        ("http://example.org/a//b/", "http://example.org/a//b/"),
        ("http://example.org/a/../../b", "http://example.org/b"),
        ("http://example.org/a/%2E%2e/b/.", "http://example.org/b/"),
        ("http://example.org/a/b/..", "http://example.org/a/"),
        ("http://example.org/.hidden/..x", "http://example.org/.hidden/..x"),
        ("http://example.org/%c3%a9%41%2f", "http://example.org/%C3%A9A%2F"),
        ("http://example.org/é?ü#ö", "http://example.org/%C3%A9?%C3%BC#%C3%B6"),
        ("http://example.org/100%", "http://example.org/100%25"),
        ("http://example.org/%zz%2%35", "http://example.org/%25zz%2525"),
        ('http://example.org/a b"<>', "http://example.org/a%20b%22%3C%3E"),
        ("http://example.org/?a[]=1&b={x|y}", "http://example.org/?a%5B%5D=1&b=%7Bx%7Cy%7D"),
        ("http://example.org/?a=1&&b", "http://example.org/?a=1&&b"),
        ("http://example.org/?&", "http://example.org/"),
        ("http://example.org/?x=http://other.org/?y", "http://example.org/?x=http://other.org/?y"),
        # What browsers make of backslashes decides which host is called.
        ("https://good.example\\@evil.example/", "https://good.example/@evil.example/"),
        ("https:\\\\example.org\\a?b\\c", "https://example.org/a?b%5Cc"),
        ("ws://example.org:80/chat", "ws://example.org/chat"),
        ("wss://example.org:443", "wss://example.org/"),
        ("ftp://example.org:21/pub/", "ftp://example.org/pub/"),
    ],
)
def test_normal_form(url: str, normal: str) -> None:
    found = inspect(url)
    assert found.url == normal
    assert found.is_normal == (url == normal)


@pytest.mark.parametrize(
    ("host", "ascii", "text"),
    [
        ("EXAMPLE.org", "example.org", "example.org"),
        ("straße.de", "xn--strae-oqa.de", "straße.de"),
        ("MÜNCHEN.de", "xn--mnchen-3ya.de", "münchen.de"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de", "münchen.de"),
        ("XN--MNCHEN-3YA.de", "xn--mnchen-3ya.de", "münchen.de"),
        ("m%C3%BCnchen.de", "xn--mnchen-3ya.de", "münchen.de"),
        ("ｅｘａｍｐｌｅ。ｏｒｇ", "example.org", "example.org"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah", "例え.テスト"),
        ("xn--ls8h.la", "xn--ls8h.la", "xn--ls8h.la"),  # an emoji, which IDNA 2008 has no place for
        ("my_site.example.org", "my_site.example.org", "my_site.example.org"),
        ("ex%61mple.org", "example.org", "example.org"),
    ],
)
def test_names(host: str, ascii: str, text: str) -> None:
    found = inspect(f"http://{host}/")
    assert (found.host, found.host_unicode, found.host_kind) == (ascii, text, "domain")
    assert found.url == f"http://{ascii}/"


@pytest.mark.parametrize(
    ("host", "kind", "normal", "is_public"),
    [
        ("localhost", "localhost", "localhost", None),
        ("app.localhost", "localhost", "app.localhost", None),
        ("intranet", "single_label", "intranet", None),
        ("8.8.8.8", "ipv4", "8.8.8.8", True),
        ("127.0.0.1", "ipv4", "127.0.0.1", False),
        ("0x7f.1", "ipv4", "127.0.0.1", False),
        ("2130706433", "ipv4", "127.0.0.1", False),
        ("017700000001", "ipv4", "127.0.0.1", False),
        ("127.1", "ipv4", "127.0.0.1", False),
        ("127.0.0.1.", "ipv4", "127.0.0.1", False),
        ("１２７.０.０.１", "ipv4", "127.0.0.1", False),
        ("10.0.0.1", "ipv4", "10.0.0.1", False),
        ("100.64.0.1", "ipv4", "100.64.0.1", False),
        ("169.254.169.254", "ipv4", "169.254.169.254", False),
        ("224.0.0.1", "ipv4", "224.0.0.1", False),
        ("0x", "ipv4", "0.0.0.0", False),
        ("[2001:4860:4860:0:0:0:0:8888]", "ipv6", "[2001:4860:4860::8888]", True),
        ("[::1]", "ipv6", "[::1]", False),
        ("[FE80::1]", "ipv6", "[fe80::1]", False),
        ("[fe80::1%25eth0]", "ipv6", "[fe80::1%25eth0]", False),
        ("[fe80::1%eth0]", "ipv6", "[fe80::1%25eth0]", False),
        ("[::ffff:127.0.0.1]", "ipv6", "[::ffff:7f00:1]", False),
        ("[::ffff:8.8.8.8]", "ipv6", "[::ffff:808:808]", True),
    ],
)
def test_addresses_and_local_names(host: str, kind: str, normal: str, is_public: bool | None) -> None:
    found = inspect(f"http://{host}:8080/")
    assert (found.host_kind, found.is_public_address) == (kind, is_public)
    assert found.url == f"http://{normal}:8080/"
    assert found.port == 8080
    assert "[" not in found.host


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "NOT_ABSOLUTE"),
        ("example.org", "NOT_ABSOLUTE"),
        ("example.org:8080/a", "NOT_ABSOLUTE"),
        ("localhost:8080", "NOT_ABSOLUTE"),
        ("//example.org/", "NOT_ABSOLUTE"),
        ("/a/b", "NOT_ABSOLUTE"),
        ("?a", "NOT_ABSOLUTE"),
        ("https:example.org", "NOT_ABSOLUTE"),
        ("https:/example.org", "NOT_ABSOLUTE"),
        ("ｈｔｔｐ://example.org", "NOT_ABSOLUTE"),
        ("mailto:me@example.org", "UNSUPPORTED_SCHEME"),
        ("javascript:alert(1)", "UNSUPPORTED_SCHEME"),
        ("file:///etc/passwd", "UNSUPPORTED_SCHEME"),
        ("git+ssh://example.org/", "UNSUPPORTED_SCHEME"),
        ("http://", "BAD_HOST"),
        ("http:///a", "BAD_HOST"),
        ("http://me@/", "BAD_HOST"),
        ("http://:80/", "BAD_HOST"),
        ("http://a..b/", "BAD_HOST"),
        ("http://.a/", "BAD_HOST"),
        ("http://a b/", "BAD_HOST"),
        ("http://a%2fb/", "BAD_HOST"),
        ("http://a%ff/", "BAD_HOST"),
        ("http://a%00b/", "BAD_HOST"),
        ("http://💩.la/", "BAD_HOST"),
        ("http://١.٢.٣.٤/", "BAD_HOST"),
        ("http://" + "a" * 64 + ".org/", "BAD_HOST"),
        ("http://" + "a." * 127 + "org/", "BAD_HOST"),
        ("http://" + "ü" * 100_000 + "/", "BAD_HOST"),
        ("http://256.0.0.1/", "BAD_HOST"),
        ("http://1.2.3.4.5/", "BAD_HOST"),
        ("http://4294967296/", "BAD_HOST"),
        ("http://08/", "BAD_HOST"),
        ("http://a.0x/", "BAD_HOST"),
        ("http://" + "9" * 100_000 + "/", "BAD_HOST"),
        ("http://[::1/", "BAD_HOST"),
        ("http://[::1]x/", "BAD_HOST"),
        ("http://[v1.x]/", "BAD_HOST"),
        ("http://[1.2.3.4]/", "BAD_HOST"),
        ("http://[::1%25eth0]/", "BAD_HOST"),
        ("http://[fe80::1%25]/", "BAD_HOST"),
        ("http://[fe80::1%25e/th]/", "BAD_HOST"),
        ("http://a:b/", "BAD_PORT"),
        ("http://a:65536/", "BAD_PORT"),
        ("http://a:-1/", "BAD_PORT"),
        ("http://a:٨٠/", "BAD_PORT"),
        ("http://a:80:80/", "BAD_PORT"),
        ("http://a:" + "9" * 100_000 + "/", "BAD_PORT"),
    ],
)
def test_urls_that_are_refused(url: str, expected: str) -> None:
    assert label(url) == expected


def test_tracking_is_named_and_stripped() -> None:
    url = "https://example.org/?UTM_Campaign=a&id=7&gclid=x&fbclid&%75tm_term=y#f"
    found = inspect(url)
    assert found.tracking_parameters == ["UTM_Campaign", "gclid", "fbclid", "utm_term"]
    assert found.url == "https://example.org/?id=7#f"
    kept = inspect(url, strip_tracking=False, strip_fragment=True)
    assert kept.tracking_parameters == found.tracking_parameters
    assert kept.url == "https://example.org/?UTM_Campaign=a&id=7&gclid=x&fbclid&utm_term=y"
    assert kept.fragment is None
    assert inspect("https://example.org/?utm=1&mygclid=2").tracking_parameters == []


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://example.org/", "home_page"),
        ("https://example.org/?utm_source=x", "home_page"),
        ("https://example.org/index.html", "home_page"),
        ("https://example.org/?page=2", "page"),
        ("https://example.org/a/index.html", "page"),
        ("https://example.org/about", "page"),
        ("https://example.org/v1.2", "page"),
        ("https://example.org/logo.PNG", "image"),
        ("https://example.org/a.tar.gz", "archive"),
        ("https://example.org/paper.pdf?download=1", "document"),
        ("https://example.org/data.json", "data"),
        ("https://example.org/blog/feed/", "feed"),
        ("https://example.org/atom.xml", "feed"),
        ("https://example.org/news.rss", "feed"),
        ("https://api.example.org/v1/things", "api"),
        ("https://example.org/api/things", "api"),
        ("https://example.org/apiary", "page"),
        ("ftp://example.org/pub/", "directory"),
        ("ftp://example.org/pub/README", "file"),
        ("wss://example.org/feed", "websocket"),
    ],
)
def test_kinds(url: str, kind: str) -> None:
    assert inspect(url).kind == kind


@pytest.mark.parametrize("userinfo", ["me:secret@", "me@", ":secret@", "a@me:secret@", "%6De:secret@"])
def test_credentials_are_told_and_never_repeated(userinfo: str) -> None:
    found = inspect(f"https://{userinfo}example.org/")
    assert found.has_credentials
    assert found.url == "https://example.org/"
    assert "secret" not in found.model_dump_json()
    assert not inspect("https://@example.org/").has_credentials
    for bad in (f"https://{userinfo}a..b/", f"https://{userinfo}a:x/", f"gopher://{userinfo}a/"):
        with pytest.raises(ActionError) as caught:
            inspect(bad)
        assert "secret" not in f"{caught.value} {caught.value.params}"


def test_a_nul_stays_written() -> None:
    found = inspect("http://example.org/%00?a%00=b%00#%00")
    assert found.query[0].name == "a%00"
    assert inspect_url.dump_output(found, max_bytes=10_000)


def test_its_parameters_are_checked() -> None:
    assert inspect_url.check_parameters({"strip_tracking": False}) is None
    assert inspect_url.check_parameters({"strip_trakcing": False}) is not None
    assert inspect_url.check_input(b'{"url": 5}') is not None


PIECES = st.text(
    st.sampled_from("aZ09.-_~%/\\?#&=+@:[] \t\n\x00\x7féß。２①💩١ͅ\u200d'\"<>|{}^`!$(),;*")
    | st.characters(codec="utf-8"),
    max_size=20,
)
URLS = st.builds(
    "{}://{}{}{}{}".format,
    st.sampled_from(["http", "HTTPS", "ws", "ftp"]),
    st.sampled_from(["example.org", "EXAMPLE.org:80", "ü.de", "1.2", "[::1]", "u:p@h:8080", "0x7f.1"]) | PIECES,
    st.sampled_from(["", "/", "/./", "/../", "//", "/a/%2e%2E/"]) | PIECES,
    st.just("") | PIECES.map("?{}".format),
    st.just("") | PIECES.map("#{}".format),
)


@given(URLS, st.booleans(), st.booleans())
@example("http://h/%2%35", True, False)
@example("http://h/..//x", True, False)
@example("http://h/?utm_a=1&", True, False)
def test_a_normal_form_is_its_own_and_others_read_it_alike(url: str, tracking: bool, fragment: bool) -> None:
    found = inspect_or_label(url, strip_tracking=tracking, strip_fragment=fragment)
    if isinstance(found, str):
        assert found in inspect_url.errors
        return
    again = inspect(found.url, strip_tracking=tracking, strip_fragment=fragment)
    assert again.url == found.url
    assert again.is_normal
    assert (
        again.model_copy(
            update={
                "is_normal": found.is_normal,
                "has_credentials": found.has_credentials,
                "tracking_parameters": found.tracking_parameters,
            }
        )
        == found
    )
    assert found.url.isascii()
    assert found.url.isprintable()
    assert inspect_url.dump_output(found, max_bytes=10**6)
    parts = urlsplit(found.url)
    assert (parts.scheme, parts.path, parts.username) == (found.scheme, found.path, None)
    assert (parts.hostname or "").partition("%")[0] == found.host
    assert (parts.port or found.port) == found.port


@given(st.text(max_size=60))
def test_any_text_is_answered_or_refused_by_label(text: str) -> None:
    found = inspect_or_label(text.encode("utf-8", "replace").decode())
    assert isinstance(found, InspectedUrl) or found in inspect_url.errors
