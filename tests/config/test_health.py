"""`/healthz` and `/readyz`: up, and ready while launches can be stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from config import health
from config.models import ProcessHeartbeat


def get(path: str) -> Any:
    return Client().get(path)


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is away, for this connection alone."""
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "HOST", "/nowhere")


def test_healthz_needs_nothing(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    answer = get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_read_without_a_key_and_never_written(path: str) -> None:
    assert get(path).status_code == 200
    assert Client().head(path).status_code == 200
    posted = Client().post(path)
    assert (posted.status_code, posted.headers["Content-Type"]) == (405, "application/json")
    assert posted.json()["error_label"] == "METHOD_NOT_ALLOWED"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["10.0.0.7:8000", "127.0.0.1", "not_a_host", "a b", ""])
def test_health_is_told_whatever_the_host(settings: Any, path: str, host: str) -> None:
    settings.ALLOWED_HOSTS = ["runyard.example.org"]
    answer = Client().get(path, headers={"Host": host})
    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    refused = Client().post(path, headers={"Host": host})
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    assert Client().get("/v1/runs", headers={"Host": host}).status_code == 400


@pytest.mark.django_db
def test_ready_before_any_process_was_seen() -> None:
    answer = get("/readyz")
    unseen = {"ok": False, "count": 0, "age_s": None}
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "status": "ready",
            "database": {"ok": True},
            "broker": {"ok": True},
            "workers": {"live": unseen, "runs": unseen, "webhooks": unseen, "system": unseen},
            "beat": unseen,
        },
    )


@pytest.mark.django_db
def test_processes_are_told_by_queue_with_their_age() -> None:
    now = timezone.now()
    for name, role, age_s in [("runs@a", "runs", 1), ("runs@b", "runs", 5), ("runs@c", "runs", 60),
                              ("system@a", "system", 40)]:  # fmt: skip
        ProcessHeartbeat.objects.create(name=name, role=role, seen_at=now - timedelta(seconds=age_s))
    health.note_process("beat@a", role="beat")
    body = get("/readyz").json()
    assert (body["workers"]["runs"]["ok"], body["workers"]["runs"]["count"]) == (True, 2)
    assert 1 <= body["workers"]["runs"]["age_s"] < 5
    assert (body["workers"]["system"]["ok"], body["workers"]["system"]["count"]) == (False, 0)
    assert body["workers"]["system"]["age_s"] >= 40
    assert (body["beat"]["ok"], body["beat"]["count"]) == (True, 1)


@pytest.mark.django_db
def test_a_process_signs_one_row_and_old_ones_are_forgotten() -> None:
    old = timezone.now() - timedelta(days=2)
    ProcessHeartbeat.objects.create(name="runs@gone", role="runs", seen_at=old)
    ProcessHeartbeat.objects.create(name="runs@here", role="runs", seen_at=old + timedelta(days=1, hours=1))
    health.note_process("runs@here", role="runs")
    health.note_process("runs@here", role="runs")
    row = ProcessHeartbeat.objects.get()
    assert row.name == "runs@here"
    assert timezone.now() - row.seen_at < timedelta(minutes=1)


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere/valkey.sock"])
def test_ready_without_a_broker(settings: Any, url: str) -> None:
    settings.REDIS_CLIENT_URL = url
    answer = get("/readyz")
    assert answer.status_code == 200
    assert (answer.json()["broker"]["ok"], answer.json()["status"]) == (False, "ready")


@pytest.mark.django_db(transaction=True)
def test_not_ready_without_a_database(no_database: None) -> None:
    answer = get("/readyz")
    body = answer.json()
    assert (answer.status_code, body["status"], body["database"]["ok"]) == (503, "unavailable", False)
    assert int(answer.headers["Retry-After"]) > 0
    assert body["broker"] == {"ok": True}
    health.note_process("runs@here", role="runs")  # writes nothing and does no harm


@pytest.mark.django_db(transaction=True)
def test_it_recovers_with_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        connection.close()
        patch.setitem(connection.settings_dict, "HOST", "/nowhere")
        assert get("/readyz").status_code == 503
    assert get("/readyz").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_the_api_without_a_database_is_503_in_the_contracts_body(no_database: None) -> None:
    answer = Client(headers={"X-API-Key": "ry_any"}, raise_request_exception=False).get("/v1/runs")
    assert (answer.status_code, answer.json()["error_label"]) == (503, "UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
