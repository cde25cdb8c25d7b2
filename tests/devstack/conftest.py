from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.home import Home
from devstack.servers import Servers


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with what makes paths hard: spaces, length, a letter beyond ASCII, closed to others."""
    path = tmp_path / "a home" / ("n" * 80) / "é"
    path.mkdir(parents=True)
    (tmp_path / "a home").chmod(0o700)
    return Home(path)


@pytest.fixture
def servers(home: Home) -> Iterator[Servers]:
    """Durable servers on that home, not yet started."""
    made = Servers.of(home, {})
    yield made
    made.stop()
