"""What PostgreSQL writes down of a statement that fails: nothing of what was to be stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from actions import ActionDefinition, action, registry
from tests.factories import Api
from webhooks.models import Destination, SigningSecret

pytestmark = pytest.mark.django_db(transaction=True)

MARKER = "m4rk3r-0f-4-s3cr3t"
PATIENCE_S = 30


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> ActionDefinition:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @action("double")
    def double(input: dict[str, int]) -> dict[str, int]:
        return {"n": input["n"] * 2}

    return double


class Written:
    """What the server wrote to its log while a test went on."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            self.log = Path(cursor.fetchone()[0]).parent / "logs" / "postgres.log"
        self.start = self.log.stat().st_size

    def __str__(self) -> str:
        return self.log.read_bytes()[self.start :].decode(errors="replace")


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def admin() -> Iterator[psycopg.Connection[Any]]:
    connection.ensure_connection()
    with psycopg.connect(connection.connection.info.dsn, autocommit=True) as admin:
        yield admin


def cut_off(admin: psycopg.Connection[Any], table: str, call: Callable[[], Any]) -> Any:
    """End the session of a call while it waits for a table; return what the call answers."""

    def in_thread() -> Any:
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with admin.transaction():
            admin.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
            answer = pool.submit(in_thread)
            while not admin.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted").fetchall():
                admin.execute("SELECT pg_sleep(0.02)")
        return answer.result(PATIENCE_S)


def test_a_launch_that_is_cut_off(
    api: Api, double: ActionDefinition, admin: psycopg.Connection[Any], written: Written
) -> None:
    url, headers = f"https://8.8.8.8/{MARKER}", {"Authorization": f"Bearer {MARKER}"}
    body = {"inputs": [{"n": 1}], "callback": {"url": url, "headers": headers}}
    answer = cut_off(admin, "webhooks_destination", lambda: api.post("/v1/actions/double/async", body))
    assert answer.status_code == 503
    assert "terminating connection" in str(written)
    assert MARKER not in str(written)


def test_a_rotation_that_is_cut_off(api: Api, admin: psycopg.Connection[Any], written: Written) -> None:
    api.get("/v1/webhook-secret")
    answer = cut_off(admin, "webhooks_signingsecret", lambda: api.post("/v1/webhook-secret/rotate", {}))
    assert answer.status_code == 503
    assert "terminating connection" in str(written)
    assert "whsec_" not in str(written)
    assert SigningSecret.objects.get().previous_secret in (None, "")


def test_a_row_that_is_refused(written: Written) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Destination.objects.create(receiver_id=None, url=f"https://8.8.8.8/{MARKER}", headers=[["X", MARKER]])
    assert "violates not-null constraint" in str(written)
    assert MARKER not in str(written)
