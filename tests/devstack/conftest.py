from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.home import Home
from devstack.servers import Servers
from devstack.unprivileged import server_identity


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with what makes paths hard: spaces, length, a letter beyond ASCII, closed to others."""
    path = tmp_path / "a home" / ("n" * 80) / "é"
    path.mkdir(parents=True)
    (tmp_path / "a home").chmod(0o700)
    return Home(path)


@pytest.fixture
def new_servers(home: Home) -> Iterator[Servers]:
    """Durable servers on that home, that never ran."""
    made = Servers.of(home, {})
    yield made
    made.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PostgreSQL's data as it is made before a first start: that takes longer than the start."""
    made = Servers.of(Home(tmp_path_factory.mktemp("cluster")), {})
    made.home.create()
    assert made.postgres
    made.postgres.prepare(server_identity())
    return made.postgres.data


@pytest.fixture
def servers(new_servers: Servers, cluster: Path) -> Servers:
    """The same, with data to start on."""
    assert new_servers.postgres
    shutil.copytree(cluster, new_servers.postgres.data)
    return new_servers
