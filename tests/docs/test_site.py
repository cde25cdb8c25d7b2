"""The guides as a site: built without a warning, every page led to, and nothing asked of anybody else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs import markdown
from tests.docs.building import build

ELSEWHERE = re.compile(r"^(?:https?:)?//", re.IGNORECASE)
ASKED = {
    "link": "href",
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "use": "href",
}
TOLD_ONLY = {"canonical", "alternate", "edit"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


class Asked(HTMLParser):
    """What a browser fetches for a page, and the styles in it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ASKED and values.get("rel") not in TOLD_ONLY:
            self.addresses.append(values.get(ASKED[tag]) or "")
        self.addresses += re.findall(r"url\(([^)]+)\)", values.get("style") or "")


def test_it_asks_nobody_else(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list(markdown.PROJECT.glob("docs/*.md")))
    for page in pages:
        asked = Asked()
        asked.feed(page.read_text())
        assert [address for address in asked.addresses if ELSEWHERE.match(address)] == [], page
        assert asked.addresses, page
    for style in site.rglob("*.css"):
        found = re.findall(r"url\(\s*[\"']?([^)\"']+)|@import\s+[\"']([^\"']+)", style.read_text())
        assert [address for pair in found for address in pair if ELSEWHERE.match(address)] == [], style


def test_nothing_needs_what_the_theme_would_fetch(site: Path) -> None:
    """The theme's script fetches Mermaid for such blocks, and facts about a repository: there are none."""
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert 'class="mermaid"' not in text, page
        assert "md-source" not in text, page


def test_drawings_are_in_their_pages(site: Path) -> None:
    text = (site / "statuses" / "index.html").read_text()
    assert text.count('<svg xmlns="http://www.w3.org/2000/svg" class="lifecycle"') == 1
    assert "PARTIAL_SUCCEEDED" in text
