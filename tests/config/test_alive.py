"""What containers' health checks find out."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from django.db import connection
from django.utils import timezone

from config import alive
from config.models import ProcessHeartbeat
from tests.system.installation import free_port


def database_url() -> str:
    name = str(connection.settings_dict["NAME"])
    return os.environ["DATABASE_URL"].replace("/runyard?", f"/{name}?")


@pytest.fixture
def worker(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> ProcessHeartbeat:
    """The sign that a worker of this host gave, with nothing that listens on the web's port."""
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setenv("DATABASE_URL", database_url())
    return ProcessHeartbeat.objects.create(
        name=f"runs@{socket.gethostname()}", role="runs", seen_at=timezone.now() - timedelta(seconds=2)
    )


def test_a_worker_that_gave_a_sign_is_alive(worker: ProcessHeartbeat) -> None:
    assert alive.main() == 0


def test_a_worker_that_is_silent_is_not(worker: ProcessHeartbeat, capsys: pytest.CaptureFixture[str]) -> None:
    ProcessHeartbeat.objects.update(seen_at=timezone.now() - timedelta(seconds=alive.SILENT_S + 1))
    ProcessHeartbeat.objects.create(name="runs@elsewhere", role="runs", seen_at=timezone.now())
    assert alive.main() == 1
    assert "No sign of life" in capsys.readouterr().err


@pytest.mark.parametrize("store", ["DATABASE_URL", "REDIS_URL"])
def test_nobody_is_judged_while_a_store_is_away(
    worker: ProcessHeartbeat, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    ProcessHeartbeat.objects.all().delete()
    assert alive.main() == 1
    scheme = {"DATABASE_URL": "postgresql", "REDIS_URL": "redis"}[store]
    monkeypatch.setenv(store, f"{scheme}://127.0.0.1:{free_port()}/0")
    assert alive.main() == 0


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A web server, and the status that it answers with."""
    status = [200]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0] if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PORT", str(server.server_port))
        yield status
        server.shutdown()


def test_a_web_process_is_asked(web: list[int]) -> None:
    assert alive.main() == 0
    web[0] = 500
    assert alive.main() == 1


def test_one_that_listens_and_does_not_answer_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "ANSWER_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PORT", str(silent.getsockname()[1]))
        assert alive.main() == 1
