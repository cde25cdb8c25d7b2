"""The connection's own limits: a lost client's locks are freed, and nobody waits for a lock for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql import base
from django.db.utils import load_backend

from config import database
from config.postgresql import base as postgresql
from rest.exception_handler import as_api_error
from runs import execution
from runs.models import BatchStatus, Run, WorkspaceTurn
from tests.factories import launch, member


def of_server(name: str, url_options: str = "") -> str:
    """What a new connection with our options has as its setting `name`."""
    parameters = connection.get_connection_params()
    ours = database.configure(f"postgresql:///x{url_options}")["OPTIONS"]
    with psycopg.connect(**{**only_where(parameters), **ours}) as other:
        row = other.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row
    return str(row[0])


def only_where(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: parameters[name] for name in ("dbname", "user", "password", "host", "port") if name in parameters}


def launch_one() -> Run:
    call_command("sync_actions")
    return launch("inspect-url", [{"url": "https://example.org"}], by=member())


@contextmanager
def lost_client(**timeouts: str) -> Iterator[psycopg.Connection[Any]]:
    """Hold every workspace's turn from a connection that then does nothing, with the given settings of its own."""
    options = connection.settings_dict["OPTIONS"]["options"]
    options += "".join(f" -c {name}={value}" for name, value in timeouts.items())
    client = psycopg.connect(**only_where(connection.get_connection_params()), options=options)
    try:
        client.execute("SELECT FROM runs_workspaceturn FOR UPDATE")
        yield client
    finally:
        client.close()


@pytest.mark.django_db
def test_what_each_connection_has() -> None:
    assert of_server("idle_in_transaction_session_timeout") == "10s"
    assert of_server("lock_timeout") == "15s"
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout')")
        assert cursor.fetchone() == ("10s", "15s")


@pytest.mark.django_db
def test_the_urls_own_options_are_kept_and_have_precedence() -> None:
    own = "?options=-c%20lock_timeout%3D1min%20-c%20search_path%3Dmine&keepalives_idle=77&connect_timeout=9"
    assert of_server("lock_timeout", own) == "1min"
    assert of_server("search_path", own) == "mine"
    assert of_server("idle_in_transaction_session_timeout", own) == "10s"
    options = database.configure(f"postgresql:///x{own}")["OPTIONS"]
    assert (options["keepalives_idle"], options["connect_timeout"], options["keepalives_count"]) == (77, 9, 3)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "url", ["x", "", "mysql://u:secret@h/x", "nothing://u:secret@h/x", "postgresql://u:secret@host:port/x",
            "postgresql://u:secret@host:99999999/x"],
)  # fmt: skip
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL must ") as refused:
        database.configure(url)
    assert "secret" not in str(refused.value)


@pytest.mark.django_db(transaction=True)
def test_what_a_lost_client_holds_is_freed() -> None:
    launched = launch_one()
    with lost_client(idle_in_transaction_session_timeout="200ms") as client:
        assert execution.execute_slice()  # waits for the turn, and has it
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            client.execute("SELECT 1")
    assert Run.objects.get(pk=launched.pk).batches.get().status == BatchStatus.DONE


@pytest.mark.django_db(transaction=True)
def test_who_waits_for_a_lock_for_too_long_gives_up_and_nothing_is_lost() -> None:
    launched = launch_one()
    with lost_client(idle_in_transaction_session_timeout="0"), session_setting(connection, "lock_timeout", "100ms"):
        with pytest.raises(OperationalError) as gave_up:
            execution.execute_slice()
        assert isinstance(gave_up.value.__cause__, psycopg.errors.LockNotAvailable)
        assert as_api_error(gave_up.value, {}).status_code == 503
        with pytest.raises(OperationalError), transaction.atomic():
            list(WorkspaceTurn.objects.select_for_update())
    assert execution.execute_slice()
    assert Run.objects.get(pk=launched.pk).batches.get().status == BatchStatus.DONE


@contextmanager
def session_setting(of: BaseDatabaseWrapper, name: str, value: str) -> Iterator[None]:
    with of.cursor() as cursor:
        cursor.execute(f"SET {name} = '{value}'")
        yield
        cursor.execute(f"RESET {name}")


def test_threads_of_a_web_process_share_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_shared_by_threads", True)
    monkeypatch.setenv("RUNYARD_WEB_DATABASE_CONNECTIONS", "7")
    shared = database.configure("postgresql:///x")
    assert (shared["OPTIONS"]["pool"]["max_size"], shared["CONN_MAX_AGE"], shared["CONN_HEALTH_CHECKS"]) == (7, 0, True)


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseDatabaseWrapper]:
    """A connection as a thread of a web process has, to the tests' server."""
    monkeypatch.setattr(database, "is_shared_by_threads", True)
    settings = {
        **connection.settings_dict,
        **database.configure(os.environ["DATABASE_URL"]),
        "NAME": connection.settings_dict["NAME"],
    }
    made = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, alias="pooled")
    yield made
    made.close()
    made.close_pool()


@pytest.mark.django_db
def test_connections_that_died_together_are_replaced_at_once(pooled: Any) -> None:
    pooled.pool.open()
    idle = [pooled.pool.getconn() for _ in range(10)]
    pids = [one.info.backend_pid for one in idle]
    for one in idle:  # each has answered a moment ago
        postgresql._note_answer(one)
        pooled.pool.putconn(one)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s) AS pid", [pids])
    before = pooled.pool.get_stats().get("requests_errors", 0)
    for _ in range(3):
        with pooled.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            assert cursor.fetchone()[0] not in pids
        pooled.close()
    assert pooled.pool.get_stats().get("requests_errors", 0) == before


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseDatabaseWrapper]:
    """A connection as a worker has, to the tests' server."""
    settings = {
        **connection.settings_dict,
        **database.configure(os.environ["DATABASE_URL"]),
        "NAME": connection.settings_dict["NAME"],
    }
    made = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, alias="own")
    yield made
    made.close()


@pytest.mark.django_db
def test_a_connection_that_answered_a_moment_ago_is_not_asked_again(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(base.DatabaseWrapper, "is_usable", lambda self: asked.append(self) or True)
    own.connect()
    assert (own.is_usable(), own.is_usable(), len(asked)) == (True, True, 1)
    own.errors_occurred = True
    assert (own.is_usable(), len(asked)) == (True, 2)
    own.errors_occurred = False
    monkeypatch.setattr(postgresql, "ASKED_AGAIN_S", 0.0)
    assert (own.is_usable(), len(asked)) == (True, 3)


@pytest.mark.django_db
def test_one_that_was_ended_a_moment_ago_is_found_out(own: Any) -> None:
    own.connect()
    assert own.is_usable()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [own.connection.info.backend_pid])
    assert not own.is_usable()
    own.connection.close()
    assert not own.is_usable()


def test_other_processes_keep_connections_of_their_own() -> None:
    own = database.configure("postgresql:///x")
    assert ("pool" in own["OPTIONS"], own["CONN_MAX_AGE"]) == (False, 60)
