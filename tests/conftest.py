"""Every test run has servers of its own: an embedded PostgreSQL and Valkey in a temporary directory.

They start before Django reads its settings and end with the run. Each process of a parallel run (pytest-xdist) has its
own pair, so that tests side by side share neither a table nor a queue.

Hypothesis tries the same examples each time, so that a change is judged by what it changed:
`pytest --hypothesis-profile=default` tries others, and `--hypothesis-profile=long` many and long ones.
"""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings

from devstack.temporary import TemporaryServers

if TYPE_CHECKING:
    from tests.factories import Api, Member

SETTINGS_OF_A_SHELL = ("DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "HTTPS", "LOG_LEVEL", "LOG_FORMAT", "PORT")
hypothesis_settings.register_profile("repeatable", derandomize=True, max_examples=50)
hypothesis_settings.register_profile("long", max_examples=200, stateful_step_count=60, print_blob=True)
hypothesis_settings.load_profile("repeatable")
servers = pytest.StashKey[TemporaryServers]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the servers in the environment, then let Django read its settings."""
    if config.getoption("numprocesses", default=None):
        return  # this process only hands out tests
    gc.disable()  # until all is collected
    for name in [name for name in os.environ if name.startswith("RUNYARD_") or name in SETTINGS_OF_A_SHELL]:
        del os.environ[name]
    started = config.stash[servers] = TemporaryServers()
    os.environ.update(started.environment, SECRET_KEY="only-for-tests")
    # Here and not in pyproject.toml: pytest-django would read the settings before this file is loaded.
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    from django.conf import settings

    settings.DATABASES  # noqa: B018  reads the settings now, which tells pytest-django that there are some
    settings.WHITENOISE_AUTOREFRESH = True  # each test's client would read all static files first
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the others take a third of a second

    from django.test import TransactionTestCase

    from tests.emptying import empty_tables

    TransactionTestCase._fixture_teardown = lambda _: empty_tables()  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """One process after another: the first rewrites the assertions of all tests, and the others read what it kept."""
    with open(__file__) as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return (yield)


def pytest_collection_finish() -> None:
    """What was collected lives to the end: nobody is to look for garbage in it again and again."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, whatever the outcome."""
    if started := config.stash.get(servers, None):
        started.stop()


@pytest.fixture
def acme(db: None) -> Member:
    from tests.factories import member

    return member()


@pytest.fixture
def api(acme: Member) -> Api:
    from tests.factories import Api

    return Api(acme.key)


@pytest.fixture
def other(db: None) -> Member:
    """A member of another workspace."""
    from tests.factories import member

    return member("Globex", "hank@globex.test")


@pytest.fixture
def side_by_side() -> Callable[..., list[Any]]:
    """Call functions at once, each in a thread with a database connection of its own; return what they returned."""
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    def call(function: Callable[[], Any]) -> Any:
        try:
            return function()
        finally:
            connection.close()

    def run(*functions: Callable[[], Any]) -> list[Any]:
        with ThreadPoolExecutor(len(functions)) as pool:
            return [future.result(timeout=30) for future in [pool.submit(call, one) for one in functions]]

    return run
