from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.system import chaos
from tests.system.installation import Client, Installation


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the processes' logs with a test that failed."""
    report = yield
    if report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, Installation):
                report.sections.append((f"logs in {used.folder}", used.logs()))
                break
    return report


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation, with one slot for runs, for all tests that leave it as they found it."""
    installation = Installation(tmp_path_factory.mktemp("shared"), environment={"RUNYARD_RUNS_CONCURRENCY": "1"})
    yield installation
    installation.close()


@pytest.fixture
def client(shared: Installation) -> Client:
    """A caller of the shared installation."""
    return shared.client


@pytest.fixture(scope="session")
def _breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("breakable"))
    yield installation
    installation.close()


@pytest.fixture
def breakable(_breakable: Installation) -> Installation:
    """An installation, with two slots for runs, that a test may break: it is whole again before the next."""
    _breakable.restore()
    return _breakable


@pytest.fixture(scope="session")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(
        tmp_path_factory.mktemp("pair"), environment=chaos.ENVIRONMENT, second_worker=True, durable=True
    )
    yield installation
    installation.close()


@pytest.fixture
def pair(_pair: Installation) -> Installation:
    """An installation with two workers for runs, of two slots each, on durable servers, that a test may break."""
    _pair.restore()
    return _pair
