"""Somebody at a browser: opens pages, presses buttons, and notes what a person should never have to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from tests.session import session_of

WIDTHS = {"light": 1360, "dark": 1360, "narrow": 390}


class Visitor:
    """A browser window of its own, signed in as `user`. `page` is Playwright's."""

    def __init__(self, browser: Any, url: str, *, user: Any, kind: str, pictures: Path) -> None:
        self.url, self.pictures = url, pictures
        self.complaints: list[str] = []
        self.context = browser.new_context(base_url=url, reduced_motion="reduce")
        if user is not None:
            self.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session_of(user), "url": url}])
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"a script failed: {error}"))
        self.page.on("request", self._watch)
        self.page.on("response", self._judge)
        self.turn(kind)

    def open(self, path: str, *, picture: str = "") -> Any:
        """Open a page, see that it is no wider than the window, and keep a picture of it if it is named."""
        self.page.goto(path)
        if picture:
            self.look(picture)
        return self.page

    def turn(self, kind: str) -> None:
        """Make the window, with the page that is open in it, light, dark or narrow."""
        self.kind = kind
        self.page.set_viewport_size({"width": WIDTHS[kind], "height": 900})
        self.page.evaluate("is_dark => document.documentElement.classList.toggle('dark', is_dark)", kind == "dark")

    def look(self, name: str) -> None:
        """Keep a picture of what the window shows, and complain of what runs over its edge.

        Of the page as far as the window goes: a picture of a whole page costs ten times as much.
        """
        self.page.evaluate("document.fonts.ready")
        over = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if over > 0:
            self.complaints.append(f"{name} is {over} px wider than the window ({self.kind})")
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{name}-{self.kind}.png")

    def leave(self) -> list[str]:
        """Close the window; return the complaints."""
        self.context.close()
        return self.complaints

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url} logged: {message.text[:500]}")

    def _watch(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.url:
            self.complaints.append(f"{self.page.url} asked {request.url}")

    def _judge(self, response: Any) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.url} answered {response.status}")
