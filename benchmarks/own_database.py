"""A database of a benchmark's own, durable and migrated, and gone with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from config import loading
from devstack.temporary import TemporaryServers


@contextmanager
def own_database(**settings: str) -> Iterator[TemporaryServers]:
    """Start servers, migrate, and let Django be used inside. `settings` are environment variables."""
    servers = TemporaryServers(durable=True)
    try:
        os.environ.update(
            servers.environment,
            SECRET_KEY="only-for-benchmarks",
            RUNYARD_RATE_LIMIT="off",
            LOG_LEVEL="WARNING",
            DJANGO_SETTINGS_MODULE="config.settings",
            ALLOWED_HOSTS="*",
        )
        os.environ.update(settings)
        import django
        from django.core.management import call_command

        with loading.for_good():  # as a web process does
            django.setup()
            import_module("config.urls")
        call_command("migrate", verbosity=0)
        yield servers
    finally:
        servers.stop()
