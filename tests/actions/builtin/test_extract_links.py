from __future__ import annotations

import json
from typing import Any

import pytest
from selectolax.lexbor import LexborNode

from actions import ActionError, Context
from actions.builtin import page_text
from actions.builtin.extract_links import Link, LinkParameters, extract_links
from actions.builtin.page import PageUrl
from tests.actions.builtin.site import Site
from tests.factories import Member, inputs_of, launch, outputs_of, reread, work

SITE = "https://www.example.org/"


def extract(url: str, **parameters: Any) -> list[Link]:
    given = LinkParameters(**parameters)
    return [*extract_links(PageUrl(url=url), parameters=given, context=Context(run_uid="a-test"))]


def urls(site: Site, html: str, **parameters: Any) -> list[str]:
    """Return where the links of a page lead that says it is at `SITE`."""
    return [link.url for link in extract(site.page(f'<base href="{SITE}">{html}'), **parameters)]


def only(site: Site, html: str, **parameters: Any) -> Link:
    (link,) = extract(site.page(html), **parameters)
    return link


def test_everything_it_says(site: Site) -> None:
    html = """<a href="/about?a=1&amp;b=2#team" rel="Help NoFollow help">About\n <b>us</b> <img alt="(team)"></a>
    <map><area href="HTTPS://Example.ORG:443/x" alt="The coast"></map>"""
    found = extract(site.page(html))
    assert [json.loads(extract_links.dump_output(link, max_bytes=10_000)) for link in found] == [
        {
            "url": site.url("/about?a=1&b=2"),
            "text": "About us (team)",
            "rel": ["help", "nofollow"],
            "is_nofollow": True,
            "is_external": False,
        },
        {
            "url": "https://example.org/x",
            "text": "The coast",
            "rel": [],
            "is_nofollow": False,
            "is_external": True,
        },
    ]


def test_links_stand_in_the_order_of_the_page(site: Site) -> None:
    html = '<a href="/1">1</a><map><area href="/2"></map><a href="/3">3</a><area href="/4">'
    assert urls(site, html) == [f"{SITE}{n}" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("a/./b/../c", f"{SITE}a/c"),
        ("?q=é", f"{SITE}?q=%C3%A9"),
        ("//other.example/x", "https://other.example/x"),
        ("https:/x", f"{SITE}x"),
        (" \n/a\tb\n ", f"{SITE}ab"),
        ("\\\\other.example\\x", "https://other.example/x"),
        ("https://münchen.example/", "https://xn--mnchen-3ya.example/"),
        ("", SITE),
        ("https://ada:hunter2@example.org/", "https://example.org/"),
        ("HTTPS://EXAMPLE.ORG", "https://example.org/"),
    ],
    ids=["dots", "query", "scheme", "one-slash", "spaces", "backslashes", "idna", "empty", "password", "case"],
)
def test_references_are_resolved_as_browsers_do(href: str, url: str, site: Site) -> None:
    assert urls(site, f'<a href="{href}">x</a>') == [url]


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "JaVa&#10;Script:alert(1)",
        "&#1;javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "blob:https://example.org/x",
        "mailto:ada@example.org",
        "tel:+441234",
        "ftp://example.org/",
        "http://",
        "http://[oops",
        "http://example.org:99999/",
        "http://1.2.3.4.5/",
        "/" + "x" * 9_000,
    ],
    ids=[
        *("script", "newline", "control", "data", "vbscript", "blob", "mailto", "tel", "ftp", "no-host", "bracket"),
        *("port", "number", "long"),
    ],
)
def test_what_leads_to_no_page_is_left_out(href: str, site: Site) -> None:
    assert urls(site, f'<a href="{href}">x</a><a name=y>no link</a><template><a href=/t>t</a></template>') == []


def test_a_base_does_not_make_links_longer_than_any_may_be(site: Site) -> None:
    html = f"<base href='/{'x' * 8_000}/'><a href={'y' * 1_000}>long</a><a href=y>short</a>"
    assert [link.text for link in extract(site.page(html))] == ["short"]


def test_each_address_is_listed_once(site: Site) -> None:
    links = extract(site.page('<a href="/x">first</a><a href="/x#part">second</a><a href="//127.0.0.1/x">third</a>'))
    assert [link.text for link in links] == ["first", "third"]


def test_fragments(site: Site) -> None:
    html = '<a href="#here">1</a><a href="/x#there">2</a><a href="/x#elsewhere">3</a>'
    assert [link.url for link in extract(site.page(html))] == [site.url("/x")]
    assert [link.url for link in extract(site.page(html), keep_fragments=True)] == [
        site.url("/#here"),
        site.url("/x#there"),
        site.url("/x#elsewhere"),
    ]


def test_schemes(site: Site) -> None:
    html = """<a href="mailto:ada@example.org?subject=Hi there">a</a><a href="tel:+441234">b</a>
    <a href="http://example.org/">c</a><a href="https://example.org/">d</a>"""
    assert [(link.url, link.is_external) for link in extract(site.page(html), schemes=["mailto", "tel", "https"])] == [
        ("mailto:ada@example.org?subject=Hi there", None),
        ("tel:+441234", None),
        ("https://example.org/", True),
    ]


@pytest.mark.parametrize("scheme", ["javascript", "data", ""])
def test_schemes_that_are_never_listed(scheme: str) -> None:
    assert extract_links.check_parameters({"schemes": [scheme]})


@pytest.mark.parametrize(
    ("host", "other", "expected"),
    [
        ("www.example.org", "example.org", True),
        ("example.org", "blog.example.org", True),
        ("blog.example.org", "example.org", True),
        ("example.org", "badexample.org", False),
        ("a.example.org", "b.example.org", False),
        ("127.0.0.1", "1.127.0.0", False),
    ],
)
def test_one_site(host: str, other: str, expected: bool) -> None:
    from actions.builtin.page_url import same_site

    assert same_site(host, other) is expected
    assert same_site(other, host) is expected


def test_same_site_only(site: Site) -> None:
    html = '<a href="/x">a</a><a href="https://example.org/">b</a><a href="mailto:ada@example.org">c</a>'
    found = extract(site.page(html), same_site_only=True, schemes=["http", "https", "mailto"])
    assert [link.url for link in found] == [site.url("/x")]


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("<a href=/x> one\n\n two </a>", "one two"),
        ("<a href=/x><div>one</div><div>two</div></a>", "one two"),
        ("<a href=/x><img alt='A picture'></a>", "A picture"),
        ("<a href=/x aria-label='Close'><svg><title>x</title></svg></a>", "Close"),
        ("<a href=/x title='More'></a>", "More"),
        ("<a href=/x>a&#0;b\x07</a>", "a\ufffdb"),
        ("<a href=/x><script>no()</script>yes</a>", "yes"),
        ("<a href=/x>" + "x" * 1_000 + "</a>", "x" * 499 + "…"),
        ("<a href=/x></a>", ""),
    ],
    ids=["spaces", "blocks", "picture", "label", "title", "controls", "script", "long", "none"],
)
def test_texts(link: str, text: str, site: Site) -> None:
    assert only(site, link).text == text


@pytest.mark.parametrize(
    ("html", "is_nofollow"),
    [
        ("<a href=/x>", False),
        ('<a href=/x rel="ugc NOFOLLOW">', True),
        ('<meta name=robots content="noindex, nofollow"><a href=/x>', True),
        ("<meta name=ROBOTS content=None><a href=/x>", True),
        ('<meta name=robots content="noindex"><a href=/x>', False),
    ],
    ids=["neither", "link", "page", "none", "other"],
)
def test_nofollow(html: str, is_nofollow: bool, site: Site) -> None:
    assert only(site, html).is_nofollow is is_nofollow


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://example.org/deep/x", "https://example.org/deep/y"),
        ("/deep/", "{site}/deep/y"),
        ("javascript:x", "{site}/y"),
        ("data:,", "{site}/y"),
    ],
)
def test_the_base_of_a_page(base: str, url: str, site: Site) -> None:
    found = only(site, f'<base target=_top><base href="{base}"><base href="/second/"><a href="y">z</a>')
    assert found.url == url.replace("{site}", site.url("").rstrip("/"))


def test_links_that_stand_in_links_are_not_read_again_and_again(site: Site) -> None:
    found = extract(site.page("".join(f"<a href=/{n}>{n}<marquee>" for n in range(3_000))))
    assert len(found) == 3_000
    assert [link.text for link in found] == [str(n) for n in range(3_000)]


@pytest.mark.parametrize("tag", ["a", "area"])
def test_a_link_that_stands_in_a_link_has_a_text_of_its_own(tag: str, site: Site) -> None:
    outer, inner = extract(site.page(f"<svg><{tag} href=/1>one<g><{tag} href=/2>two</{tag}></g>three</{tag}></svg>"))
    assert (outer.text, inner.text) == ("onethree", "two")


def test_no_more_of_a_link_is_read_than_is_listed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    own_text = page_text._own_text

    def noting(node: LexborNode, tag: str, with_alt: bool) -> str:
        read.append(tag)
        return own_text(node, tag, with_alt)

    monkeypatch.setattr(page_text, "_own_text", noting)
    assert only(site, "<a href=/x>" + "<i>word </i>" * 5_000).text == "word " * 99 + "word…"
    assert len(read) < 300


LONG_BASE = f"<base href='https://example.org/?{'a&' * 3_500}'>"


@pytest.mark.parametrize(
    "html",
    [
        LONG_BASE + "".join(f"<a href=#{n}>x</a>" for n in range(2_000)),
        f"<base href='/{'%20' * 2_700}/'>" + "".join(f"<a href={'y' * 80}{n}>x</a>" for n in range(9_000)),
    ],
    ids=["query", "path"],
)
def test_links_that_take_long_to_resolve_end(html: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actions.builtin.extract_links.MAX_LINKS_CPU_S", 0.1)
    with pytest.raises(ActionError, match="TOO_COMPLEX"):
        extract(site.page(html))


def test_what_is_repeated_is_resolved_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actions.builtin.extract_links.MAX_LINKS_CPU_S", 1.0)
    assert len(extract(site.page(LONG_BASE + "<a href=#x>x</a>" * 20_000))) == 1


def test_of_what_is_listed_already_no_text_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []

    def noting(*link: Any, **limit: Any) -> str:
        labels.append(page_text.label_of(*link, **limit))
        return labels[-1]

    monkeypatch.setattr("actions.builtin.extract_links.label_of", noting)
    assert urls(site, "<a href=/x>1</a><a href=/x#y>2</a><a href=/x>3</a><a href=/y>4</a>") == [f"{SITE}x", f"{SITE}y"]
    assert labels == ["1", "4"]


def test_what_is_beyond_the_limits_of_an_input_is_left_out(site: Site, acme: Member, settings: Any) -> None:
    settings.RUNYARD_MAX_OUTPUTS_PER_INPUT = 3
    few = launch("extract-links", [{"url": site.page("".join(f"<a href=/{n}>{n}</a>" for n in range(9)))}], by=acme)
    work()
    assert [link["text"] for link in outputs_of(few)] == ["0", "1", "2"]
    # A base of 8 kB makes much of a small page.
    settings.RUNYARD_MAX_OUTPUTS_PER_INPUT = 10_000
    settings.RUNYARD_MAX_OUTPUT_BYTES_PER_INPUT = 100_000
    long = f"<base href='/{'x' * 8_000}/'>" + "".join(f"<a href={n}>{n}</a>" for n in range(1_000))
    large = launch("extract-links", [{"url": site.page(long, "/long")}], by=acme)
    work()
    assert reread(large).status == "SUCCEEDED", inputs_of(large)
    assert 10 <= len(outputs_of(large)) <= 12


def test_a_caller_may_ask_for_fewer(site: Site, acme: Member) -> None:
    page = site.page("".join(f"<a href=/{n}>{n}</a>" for n in range(9)))
    run = launch("extract-links", [{"url": page}], by=acme, parameters={"max_results": 2, "same_site_only": True})
    work()
    assert [link["url"] for link in outputs_of(run)] == [site.url("/0"), site.url("/1")]
