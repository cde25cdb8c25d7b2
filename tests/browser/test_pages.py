"""Every page of the admin, with something in it, in light, dark and narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.scene import Scene
from tests.browser.visitor import WIDTHS, Visitor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

Visit = Callable[..., Visitor]


def test_every_page(visit: Visit, scene: Scene) -> None:
    """No error in the console, nobody else asked, nothing wider than the window; pictures of all are kept."""
    visitor = visit(scene.root)
    for name, path in scene.pages().items():
        page = visitor.open(path)
        assert page.locator("#content").count() == 1, name
        assert page.title(), name
        for kind in reversed(WIDTHS):  # the next is opened in the light again
            visitor.turn(kind)
            visitor.look(name)


def test_signing_in(visit: Visit, scene: Scene) -> None:
    visitor = visit()
    page = visitor.open("/admin/", picture="login")
    scene.root.set_password("a long phrase")
    scene.root.save()
    page.get_by_label("Username").fill(scene.root.username)
    page.locator("input[type=password]").fill("a long phrase")
    page.locator("[type=submit]").click()
    page.get_by_text("Needs attention").wait_for()


@pytest.mark.parametrize("kind", ["light", "narrow"])
def test_keys_alone_lead_to_every_list(visit: Visit, scene: Scene, kind: str) -> None:
    page = visit(scene.root, kind=kind).open("/admin/")
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.getAttribute('href')"))
    expected = {"/admin/runs/run/", "/admin/schedules/schedule/"} if kind == "light" else set()
    assert expected <= seen
    assert any("status__exact=" in (path or "") for path in seen)  # the figures


def test_stored_markup_is_shown_and_not_run(visit: Visit, scene: Scene, hostile: dict[str, str]) -> None:
    """In a browser, under the policy: no dialog opens, no script of it runs."""
    visitor = visit(scene.root)
    opened: list[Any] = []
    visitor.page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
    for name, path in hostile.items():
        page = visitor.open(path)
        assert page.locator("img[src='x']").count() == 0, name
        assert "alert('x')" in page.locator("body").inner_text(), name
    assert opened == []


def test_the_policy_stops_a_script_that_got_in(visit: Visit, scene: Scene) -> None:
    """Were the escaping to fail, the browser itself would refuse: this page is given what nobody may store."""
    visitor = visit(scene.root)
    page = visitor.open("/admin/")
    page.evaluate(
        """() => {
          const script = document.createElement("script"); script.textContent = "window.ran = 1";
          document.body.append(script);
          const image = document.createElement("img");
          image.setAttribute("onerror", "window.ran = 2");
          image.src = "data:,";
          document.body.append(image);
        }"""
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in one for one in visitor.complaints) >= 2
    visitor.complaints.clear()
