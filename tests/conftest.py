"""Every test run has servers of its own: an embedded PostgreSQL and Valkey in a temporary directory.

They start before Django reads its settings and end with the run. Parallel processes (pytest-xdist) share them, each
with a test database (pytest-django's doing) and a Valkey database of its own.
"""

from __future__ import annotations

import os

import pytest

from devstack.temporary import TemporaryServers

SETTINGS_OF_A_SHELL = ("DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "HTTPS", "LOG_LEVEL", "LOG_FORMAT", "PORT")
servers = pytest.StashKey[TemporaryServers]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the servers in the environment, then let Django read its settings."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        number = int(worker.removeprefix("gw")) + 1
        os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL']}?virtual_host={number}"
    else:
        for name in [name for name in os.environ if name.startswith("RUNYARD_") or name in SETTINGS_OF_A_SHELL]:
            del os.environ[name]
        started = config.stash[servers] = TemporaryServers()
        os.environ.update(started.environment, SECRET_KEY="only-for-tests")
    # Here and not in pyproject.toml: pytest-django would read the settings before this file is loaded.
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    from django.conf import settings

    settings.DATABASES  # noqa: B018  reads the settings now, which tells pytest-django that there are some


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, whatever the outcome."""
    if started := config.stash.get(servers, None):
        started.stop()
