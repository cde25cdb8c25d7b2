"""A real browser on the real pages: what a test opens may log no error, ask nobody else, and run over no edge."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.browser.visitor import Visitor

PICTURES = Path(__file__).resolve().parents[2] / ".artifacts" / "screenshots"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of a file, and no longer: its event loop would be in the way of other tests."""
    path = chromium.find()
    if path is None:
        pytest.skip("There is no Chromium on this machine: `python -m tests.browser.chromium` installs one.")
    # Playwright keeps an event loop in this thread, beside which Django would refuse its database.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=chromium.ARGUMENTS)
        yield running
        running.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def visit(browser: Any, live_server: Any, transactional_db: None) -> Iterator[Callable[..., Visitor]]:
    """Return a way to open the site as somebody, or as nobody; `kind` is light, dark or narrow."""
    visitors: list[Visitor] = []

    def open_as(user: Any = None, *, kind: str = "light") -> Visitor:
        visitors.append(Visitor(browser, live_server.url, user=user, kind=kind, pictures=PICTURES))
        return visitors[-1]

    yield open_as
    complaints = [complaint for one in visitors for complaint in one.leave()]
    assert not complaints, complaints


@pytest.fixture
def scene(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Something of everything."""
    from actions import registry
    from tests.browser import scene

    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    scene.register()
    return scene.build()


@pytest.fixture
def hostile(scene: Any) -> dict[str, str]:
    """The pages that show stored markup."""
    from tests.browser.scene import hostile

    return hostile(scene)
