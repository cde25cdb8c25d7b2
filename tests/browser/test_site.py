"""The site of the guides in a real browser: it asks nobody else, says no error, fits a phone, and finds words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import PICTURES
from tests.docs.building import build

PAGES = ("", "statuses/", "moving-from-celery/")
KINDS = {"light": (1280, "light"), "dark": (1280, "dark"), "narrow": (390, "light")}
GROUND = "getComputedStyle(document.querySelector('.lifecycle')).getPropertyValue('--ground')"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = build(tmp_path_factory.mktemp("site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def look(browser: Any, address: str) -> Iterator[Any]:
    """Return a way to open the site as a reader of a kind; what goes wrong on the way fails the test."""
    contexts, complaints = [], []

    def opened(kind: str) -> Any:
        width, scheme = KINDS[kind]
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("request", lambda request: request.url.startswith((address, "data:")) or complaints.append(request.url))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_pages(look: Any, address: str, kind: str) -> None:
    page = look(kind)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        page.goto(address + name, wait_until="load")
        assert page.evaluate("document.documentElement.scrollWidth") <= KINDS[kind][0], name
        page.screenshot(path=Path(PICTURES) / f"site-{name.strip('/') or 'index'}-{kind}.png")


def test_a_drawing_follows_the_reader(look: Any, address: str) -> None:
    grounds = {}
    for kind in ("light", "dark"):
        page = look(kind)
        page.goto(f"{address}statuses/")
        grounds[kind] = page.evaluate(GROUND)
    page.locator("label[title='Switch to light']").click()
    assert page.evaluate(GROUND) == grounds["light"] != grounds["dark"]


def test_search_finds(look: Any, address: str) -> None:
    page = look("light")
    page.goto(address)
    page.get_by_role("textbox", name="Search").fill("idempotency")
    page.locator(".md-search-result__link[href*='api/']").first.wait_for()
