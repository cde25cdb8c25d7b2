"""What the tests of the actions that go out share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from actions.builtin import outgoing
from tests.actions.builtin.site import Site


@pytest.fixture
def guarded_site() -> Iterator[Site]:
    """A site that this installation does not call: it is on loopback."""
    site = Site()
    yield site
    site.close()
    outgoing._client.cache_clear()  # another test's site may come to listen on the same port


@pytest.fixture
def site(guarded_site: Site, settings: Any) -> Site:
    """A site that may be called."""
    settings.RUNYARD_ACTIONS_ALLOW_PRIVATE = True
    return guarded_site
