from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.system import chaos, fuzzing
from tests.system.collector import Collector
from tests.system.guide import Guide
from tests.system.installation import Client, Installation, Template, until

Make = Callable[[Path], Installation]
Ground = Callable[[str, Make], Installation]
INSTALLATIONS = ("pair", "shared", "narrow", "deploying", "web_only", "described")
"""The fixtures that stand on the ground, in the order in which their tests are begun: the longest first."""
ONE_WEB = {"RUNYARD_WEB_PROCESSES": "1"}
"""For an installation whose callers come one by one: a process more takes seconds of processor to start."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring together the files, and in them the tests, that need the same installation."""
    needs = {item: _need(item) for item in items if item.path.is_relative_to(Path(__file__).parent)}
    needs_of_file: dict[Path, set[int]] = {}
    for item, need in needs.items():
        needs_of_file.setdefault(item.path, set()).add(need)
        # A test that stands still fails; its process lives on. Nothing here is cut off by signals of its own.
        item.add_marker(pytest.mark.timeout(300, method="signal"))
    nothing = len(INSTALLATIONS)
    order = {path: sorted(found - {nothing}) or [nothing] for path, found in needs_of_file.items()}
    items.sort(key=lambda item: (order[item.path], needs[item]) if item in needs else ([], 0))


def _need(item: pytest.Item) -> int:
    fixtures = getattr(item, "fixturenames", ())
    return next((at for at, name in enumerate(INSTALLATIONS) if name in fixtures), len(INSTALLATIONS))


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


@pytest.fixture(scope="session", autouse=True)
def template(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One database to copy, for all processes of a parallel run."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    (shared / "template").mkdir(exist_ok=True)
    Installation.template = staticmethod(lambda: Template(shared / "template"))


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Ground for one installation: whichever a test asks for stands there until a test asks for another.

    Seven processes that wait and look every second cost a fifth of a core, so none stands where nobody needs it.
    """
    standing: dict[str, Installation] = {}

    def clear() -> None:
        for name in list(standing):
            standing.pop(name).close()

    def stand(name: str, make: Make) -> Installation:
        if name not in standing:
            clear()
            standing[name] = make(tmp_path_factory.mktemp(name))
        return standing[name]

    yield stand
    clear()


@pytest.fixture
def shared(ground: Ground) -> Installation:
    """One installation, with two slots for runs, for all tests that leave it as they found it."""
    return ground("shared", Installation)


@pytest.fixture
def client(shared: Installation) -> Client:
    """A caller of the shared installation."""
    return shared.client


@pytest.fixture(scope="module")
def guide(ground: Ground, request: pytest.FixtureRequest) -> Guide:
    """The hosted API's guide, in the shared installation, in a workspace for the tests of a file.

    Mark these with `shared` too: the fixture of a file cannot ask for it, and by it tests are brought together.
    """
    installation = ground("shared", Installation)
    workspace = request.module.__name__
    key = installation.manage("create_key", "--workspace", workspace, "--email", "guide@example.com").stdout.strip()
    return Guide(installation.client.url, key)


@pytest.fixture
def breakable(shared: Installation) -> Iterator[Installation]:
    """The shared installation, for a test that may break it: it is whole again after it."""
    yield shared
    shared.restore()


@pytest.fixture
def pair(ground: Ground) -> Installation:
    """An installation with two workers for runs, of two slots each, on durable servers, that a test may break."""
    installation = ground(
        "pair",
        lambda folder: Installation(folder, environment=chaos.ENVIRONMENT | ONE_WEB, second_worker=True, durable=True),
    )
    installation.restore()
    return installation


@pytest.fixture(scope="session")
def collector() -> Collector:
    """Where the narrow installation sends its traces."""
    return Collector()


@pytest.fixture
def narrow(ground: Ground, collector: Collector) -> Installation:
    """An installation in which one caller waits at a time, and not for long, while a lease is long.

    Its web has one database connection, so whoever waits for a call and keeps it stops everybody else. It logs all
    there is, for machines, and sends traces.
    """
    environment = {
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "RUNYARD_WEB_DATABASE_CONNECTIONS": "1",
        "RUNYARD_WEB_PROCESSES": "1",
        "RUNYARD_MAX_LIVE_CALLS": "1",
        "RUNYARD_LIVE_WAIT_SECONDS": "1",
        "RUNYARD_LEASE_SECONDS": "30",
    }
    return ground("narrow", lambda folder: Installation(folder, environment=environment))


@pytest.fixture
def deploying(ground: Ground) -> Installation:
    """An installation whose workers have the sample actions, beside workers that do not have them."""
    return ground("deploying", _deploying)


def _deploying(folder: Path) -> Installation:
    installation = Installation(folder, environment=ONE_WEB)
    for like in ("worker-runs", "worker-live"):
        installation.add(f"previous-{like}", like=like, RUNYARD_ACTIONS="")
        installation.start(f"previous-{like}")
    for like in ("worker-runs", "worker-live"):
        until(lambda like=like: " ready." in installation.log(f"previous-{like}").read_text(), installation.logs)
    return installation


@pytest.fixture
def described(ground: Ground) -> Installation:
    """An installation with the actions that its committed OpenAPI document describes, and no others."""
    return ground("described", lambda folder: Installation(folder, environment=fuzzing.ENVIRONMENT | ONE_WEB))


@pytest.fixture
def web_only(ground: Ground) -> Installation:
    """An installation in which no worker and no beat has ever run."""
    return ground("web_only", lambda folder: Installation(folder, processes=["web"], environment=ONE_WEB))
