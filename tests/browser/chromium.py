"""The browser of the tests: a Chromium of this machine, or one that `python -m tests.browser.chromium` installs.

Nothing is installed where one is found. Otherwise it is Debian's, where this is root on a machine that has apt, or the
one that Playwright downloads. Where neither can be had, the tests that need it are skipped, and say so.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests import debian

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Nothing that Chromium does of its own accord: it looks for no update, and calls nobody.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # in a container /dev/shm is small
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None) or _playwrights_own()


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> bool:
    """Install one. Returns whether there is one now."""
    debian.install("chromium")
    if not find():
        debian.attempt([sys.executable, "-m", "playwright", "install", "chromium"])
    return find() is not None


if __name__ == "__main__":
    if not find() and not install():
        print("No Chromium here, and none could be installed: the tests in tests/browser will be skipped.")
