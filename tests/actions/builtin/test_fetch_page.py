from __future__ import annotations

import json
from typing import Any

import pytest

from actions import ActionError, Context
from actions.builtin.fetch_page import FetchedPage, fetch_page
from actions.builtin.page import PageParameters, PageUrl
from tests.actions.builtin.site import Reply, Site
from tests.factories import Member, counts, inputs_of, launch, outputs_of, reread, work

PAGE = """<!doctype html>
<html lang="en-GB">
<head>
  <meta charset="utf-8">
  <noscript><img src="/pixel.gif"></noscript>
  <title>
    The  Analytical
    Engine &amp; more
  </title>
  <meta name="Description" content=" What it
    was to be. ">
  <meta property="og:description" content="not this one">
  <link rel="stylesheet canonical" href="/engine#top">
</head>
<body>
  <header>Menu Search</header><nav><a href="/">Home</a></nav>
  <main>
    <h1>The Engine</h1><p>It w<b>eave</b>s
    algebraic   patterns.</p>
    <script>var x = "not text";</script><aside>Related</aside><p hidden>Not yet</p>
  </main>
  <footer>Imprint</footer>
</body></html>"""
MAIN_TEXT = "The Engine It weaves algebraic patterns."


def fetch(url: str, **parameters: Any) -> FetchedPage:
    page: FetchedPage = fetch_page(
        PageUrl(url=url), parameters=PageParameters(**parameters), context=Context(run_uid="a-test")
    )
    return page


def test_everything_it_says(site: Site) -> None:
    site.replies["/old"] = Reply(status=301, headers=[("Location", "/engine?from=old")])
    site.page(PAGE, "/engine?from=old", content_type="Text/HTML; charset=UTF-8")
    found = fetch(site.url("/old"))
    assert json.loads(fetch_page.dump_output(found, max_bytes=10_000)) == {
        "url": site.url("/engine?from=old"),
        "status": 200,
        "content_type": "text/html",
        "redirects": 1,
        "title": "The Analytical Engine & more",
        "description": "What it was to be.",
        "language": "en-GB",
        "canonical_url": site.url("/engine"),
        "text_length": len(MAIN_TEXT),
    }
    assert site.asked[0].headers["accept"].startswith("text/html")


def test_a_page_that_says_nothing(site: Site) -> None:
    found = fetch(site.page(""))
    assert (found.title, found.description, found.language, found.canonical_url) == (None, None, None, None)
    assert found.text_length == 0


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("<title></title>", None),
        ("<title>One</title><title>Two</title>", "One"),
        ("<svg><title>A picture</title></svg><title>The page</title>", "The page"),
        ("<title>a&#0;b\x01c\x7fd</title>", "a\ufffdbcd"),
        ("<title>a&nbsp;&nbsp;b</title>", "a\xa0\xa0b"),
        ("<title>&lt;script&gt;</title>", "<script>"),
        ("<title>" + "x" * 2_000 + "</title>", "x" * 999 + "…"),
        ("<title>&#xD800;</title>", "\ufffd"),
    ],
    ids=["empty", "two", "svg", "controls", "nbsp", "markup", "huge", "surrogate"],
)
def test_titles(html: str, title: str | None, site: Site) -> None:
    found = fetch(site.page(html))
    assert found.title == title
    assert fetch_page.dump_output(found, max_bytes=10_000)


@pytest.mark.parametrize(
    ("html", "description"),
    [
        ('<meta name="description" content="A"><meta name="description" content="B">', "A"),
        ('<meta name="description" content=" "><meta property="og:description" content="B">', "B"),
        ('<meta content="A" name=DESCRIPTION>', "A"),
        ('<meta name="description">', None),
    ],
    ids=["first", "og", "case", "none"],
)
def test_descriptions(html: str, description: str | None, site: Site) -> None:
    assert fetch(site.page(html)).description == description


@pytest.mark.parametrize(
    ("html", "header", "language"),
    [
        ('<html lang="pt_BR">', "en", "pt-BR"),
        ('<html lang="" xml:lang="fr">', "en", "fr"),
        ("<html>", "de-AT, en", "de-AT"),
        ('<meta http-equiv="Content-Language" content="it">', None, "it"),
        ('<html lang="{{ lang }}">', None, None),
        ('<html lang="no language at all">', "nl", "nl"),
    ],
    ids=["html", "xml", "header", "meta", "template", "words"],
)
def test_languages(html: str, header: str | None, language: str | None, site: Site) -> None:
    headers = [("Content-Language", header)] if header else []
    assert fetch(site.page(html, headers=headers)).language == language


@pytest.mark.parametrize(
    ("head", "canonical"),
    [
        ('<link rel=canonical href="https://EXAMPLE.org:443/a/../b?q">', "https://example.org/b?q"),
        ('<base href="https://example.org/deep/x"><link rel=canonical href="y">', "https://example.org/deep/y"),
        ('<link rel=canonical href="//example.org">', "http://example.org/"),
        ('<link rel=canonical href=" /a&#10;b ">', "{site}/ab"),
        ('<link rel=canonical href="javascript:alert(1)">', None),
        ('<link rel=canonical href="http://[oops">', None),
        ('<link rel=canonical href="">', None),
        ('<link rel=canonical href="/' + "x" * 9_000 + '">', None),
        ('<link rel=alternate href="/a">', None),
        ('<body><link rel=canonical href="/a">', None),
    ],
    ids=["normal", "base", "scheme", "spaces", "script", "broken", "empty", "long", "other", "body"],
)
def test_canonical_urls(head: str, canonical: str | None, site: Site) -> None:
    found = fetch(site.page(head)).canonical_url
    assert found == (canonical and canonical.replace("{site}", site.url("").rstrip("/")))


@pytest.mark.parametrize(
    ("body", "content_type", "title"),
    [
        ("<title>é</title>".encode(), "text/html", "é"),
        ("<title>é</title>".encode("cp1252"), "text/html", "é"),
        ("<title>é</title>".encode("cp1252"), "text/html; charset=iso-8859-1", "é"),
        ("<title>“é”</title>".encode("cp1252"), 'text/html; charset="latin1"', "“é”"),
        ("<title>é</title>".encode("utf-8-sig"), "text/html; charset=iso-8859-1", "é"),
        ("<title>é</title>".encode("utf-16"), "text/html; charset=utf-8", "é"),
        ('<meta charset="shift_jis"><title>日本</title>'.encode("shift_jis"), "text/html", "日本"),
        ('<meta charset="utf-16"><title>é</title>'.encode(), "text/html", "é"),
        ('<?xml version="1.0" encoding="koi8-r"?><title>да</title>'.encode("koi8-r"), "application/xhtml+xml", "да"),
        ("<title>é</title>".encode("cp1252"), "text/html; charset=utf-8", "\ufffd"),
        ("<title>é</title>".encode(), "text/html; charset=no-such-thing", "é"),
        ("<title>é</title>".encode(), "text/html; charset=hex", "é"),
        (b"<title>\\ud800</title>", "text/html; charset=unicode_escape", "\\ud800"),
    ],
    ids=[
        *("utf-8", "guessed", "latin-1", "windows", "bom", "utf-16", "meta", "meta-utf-16", "xml", "wrong", "unknown"),
        *("codec", "escape"),
    ],
)
def test_encodings(body: bytes, content_type: str, title: str, site: Site) -> None:
    assert fetch(site.page(body, content_type=content_type)).title == title


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>one</p><p>two</p>", "one two"),
        ("one<br>two <ul><li>a<li>b</ul>", "one two a b"),
        ("t<i>w</i>o", "two"),
        ("a<nav>menu</nav>b", "a b"),
        ("<header>site</header>text", "text"),
        ("<div role=navigation>menu</div>text", "text"),
        ("<main><header>Title</header>text</main>more", "Title text"),
        ("<article>first</article> outside", "first"),
        ("<article>first</article><article>second</article> outside", "first second outside"),
        ("<main hidden>old</main><main>new</main>", "new"),
        ("<main></main><p>all the same</p>", "all the same"),
        ("<form><p>the page</p><select><option>x</select><button>go</button></form>", "the page"),
        ("<template>later</template><noscript>without</noscript><textarea>x</textarea>now", "now"),
        ("<iframe>old</iframe><svg><text>drawn</text></svg>now", "now"),
        ("a\xa0\xa0b", "a\xa0\xa0b"),
        ("<frameset><frame src=x></frameset>", "<frameset><frame src=x></frameset>"),
    ],
    ids=[
        *("blocks", "breaks", "inline", "nav", "header", "role", "header-of-main", "article", "articles", "hidden"),
        *("empty-main", "form", "unseen", "frames", "nbsp", "none"),
    ],
)
def test_the_main_text(body: str, text: str, site: Site) -> None:
    length = 0 if body.startswith("<frameset>") else len(text)
    assert fetch(site.page(f"<!doctype html><title>not this</title>{body}")).text_length == length


def test_a_page_without_a_type_is_looked_at(site: Site) -> None:
    assert fetch(site.page("\n <!doctype html><title>Old</title>", content_type=None)).content_type == ""


def test_what_is_no_page_is_told_before_how_large_it_is(site: Site) -> None:
    with pytest.raises(ActionError, match="NOT_HTML"):
        fetch(site.page(b"\xff" * 5_000, content_type="video/mp4"), max_bytes=1_000)


def test_pages_of_one_host_share_a_connection(site: Site) -> None:
    for path in ("/1", "/2", "/3"):
        fetch(site.page("<title>x</title>", path))
    assert (len(site.asked), site.connections) == (3, 1)


def test_a_refresh_by_the_page_is_not_followed(site: Site) -> None:
    site.page("<title>there</title>", "/there")
    here = site.page('<meta http-equiv="refresh" content="0; url=/there"><title>here</title>')
    assert fetch(here).title == "here"
    assert [asked.path for asked in site.asked] == ["/"]


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 10_000 + "deep",
        "<b><p>" * 20_000,
        "<a><i><u><s>" * 10_000,
        "<select>" + "<option selected>" * 40_000,
        "<select><button><selectedcontent></selectedcontent></button>" + "<option selected>x" * 40_000,
        "<table><td>" * 20_000,
        "<p " + " ".join(f"a{n}" for n in range(5_000)) + ">deep",
        "<p " + "x" * 1_000_000,
        "&" * 1_000_000,
        "<!--" * 20_000,
    ],
    ids=[
        "nested",
        "adopted",
        "formatted",
        "options",
        "copied",
        "tables",
        "attributes",
        "name",
        "ampersands",
        "comments",
    ],
)
def test_pages_made_to_cost_much(html: str, site: Site) -> None:
    assert fetch(site.page(html)).status == 200


@pytest.mark.parametrize(
    "attributes",
    ["a ", "a/", 'a=""', "a=''", 'a=">" ', 'a="<b>" ', "a <b ", "a\n"],
    ids=["spaces", "slashes", "quotes", "apostrophes", "closed-in-quotes", "tags-in-quotes", "opened", "lines"],
)
def test_tags_of_very_many_attributes_are_refused_unparsed(attributes: str, site: Site) -> None:
    html = "<p " + attributes * 60_000 + ">"
    with pytest.raises(ActionError, match="TOO_COMPLEX"):
        fetch(site.page(html))


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 60_000,
        "<div>" * 45_000 + "</div>" * 45_000,
        "<a><div>" * 49_000,
        "<div></x>" * 49_000,
        "<span>" * 45_000 + "<p>" * 45_000,
        "<i>" * 45_000 + "</x>" * 45_000,
        "".join(f"<html a{n}>" for n in range(90_000)),
    ],
    ids=["nested", "closed", "links", "other-ends", "inline", "no-match", "html"],
)
def test_tags_that_nest_very_deeply_are_refused_unparsed(html: str, site: Site) -> None:
    with pytest.raises(ActionError, match="TOO_COMPLEX"):
        fetch(site.page(html))


@pytest.mark.parametrize(
    "html",
    [
        "word " * 200_000,
        "<pre>" + "it's a < b and c\n" * 20_000,
        "<!-- " + "word " * 200_000 + " --><p>text",
        "<script>if(a<b){c='>'}" + "x = 1; " * 5_000 + "</script>",
        '<img src="data:image/png;base64,' + "iVBOR/w0KGgo" * 20_000 + '">',
        '<path d="' + "M 10 10 L 20 20 " * 3_000 + '">',
        '<p title="it\'s > that">' + "word " * 20_000,
        "<table>" + "<tr><td>cell<td>cell" * 30_000,
        "<ul>" + "<li class=item><a href=/x>one</a>" * 20_000 + "</ul>",
        "<div class='row'><div><span>x</span><br></div></div>" * 12_000,
        "<svg>" + "<path d='M 0 0'/>" * 20_000 + "</svg>" + "<p>text</p>" * 10_000,
        "<main>" + "<p>text</p>" * 40_000 + "</main>",
    ],
    ids=[
        *("text", "less-than", "comment", "script", "picture", "drawing", "title", "table", "list", "rows", "drawings"),
        "paragraphs",
    ],
)
def test_large_pages_that_people_make_are_read(html: str, site: Site) -> None:
    assert fetch(site.page(html)).status == 200


def test_slow_pages_are_waited_for_all_at_once(site: Site, acme: Member) -> None:
    """100 pages, in batches of 50: the site answers nobody before 50 have asked."""
    fetch(site.page(""))  # the first of a process has more to do
    for n in range(100):
        site.page(f"<title>{n}</title>", f"/{n}", before=lambda: site.wait_for(50))
    run = launch("fetch-page", [{"url": site.url(f"/{n}")} for n in range(100)], by=acme)
    work()
    assert site.peak == 50
    assert len(site.asked) == 101
    assert counts(run) == (100, 0, 0, 0)
    assert [output["title"] for output in outputs_of(run)] == [str(n) for n in range(100)]


def test_one_that_fails_harms_no_other(site: Site, acme: Member) -> None:
    good, gone = site.page("<title>here</title>"), site.url("/gone")
    run = launch("fetch-page", [{"url": good}, {"url": gone}, {"url": good}, {"url": ""}], by=acme)
    work()
    assert reread(run).status == "PARTIAL_SUCCEEDED"
    assert [output["title"] for output in outputs_of(run)] == ["here", "here"]
    errors = [one["last_error"] for one in inputs_of(run)]
    assert [error and error["label"] for error in errors] == [None, "HTTP_STATUS", None, "BAD_INPUT"]
    assert errors[1]["params"] == {"status": 404, "url": gone}
    assert errors[1]["scope"] == "action"
