"""Is the service up, and may it be sent work: `/healthz` and `/readyz` (contract section 6)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import resolve
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from config.models import ProcessHeartbeat
from rest import schema
from rest.json import dumps
from rest.middleware import SERVICE_PATHS

log = structlog.get_logger(__name__)

SEEN_WITHIN = timedelta(seconds=15)
FORGOTTEN_AFTER = timedelta(days=1)
BROKER_TIMEOUT_S = 1.0
ROLES = ("live", "runs", "webhooks", "system")


def note_process(name: str, *, role: str) -> None:
    """Write down that a worker or beat process is alive now. Without a database nothing is written, no harm done."""
    now = timezone.now()
    try:
        ProcessHeartbeat.objects.update_or_create(name=name, defaults={"role": role, "seen_at": now})
        ProcessHeartbeat.objects.filter(seen_at__lt=now - FORGOTTEN_AFTER).delete()
    except (DatabaseError, InterfaceError) as error:
        log.warning("heartbeat_not_written", process=name, error=str(error).strip())
        connection.close()


class AnyHostMiddleware:
    """Answers SERVICE_PATHS before anything looks at the Host header: load balancers and scrapers ask by address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info in SERVICE_PATHS:
            return resolve(request.path_info).func(request)
        return self.get_response(request)


@csrf_exempt  # a method that is not taken is a 405, not a missing token
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    return _answer({"status": "ok"})


@csrf_exempt
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 while launches can be stored, which takes the database as migrated; tell of all the rest."""
    database, processes = _database_and_processes()
    body = {
        "status": "ready" if database["ok"] else "unavailable",
        "database": database,
        "broker": _broker(),
        "workers": {role: processes.get(role, _NOT_SEEN) for role in ROLES},
        "beat": processes.get("beat", _NOT_SEEN),
    }
    response = _answer(body, status=200 if database["ok"] else 503)
    if not database["ok"]:
        response["Retry-After"] = "2"
    return response


_NOT_SEEN: dict[str, Any] = {"ok": False, "count": 0, "age_s": None}


def _database_and_processes() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    try:
        if not schema.is_current():
            return {"ok": False, "error": "MigrationsPending", "migrations": schema.pending()}, {}
        beats = list(ProcessHeartbeat.objects.order_by("role", "-seen_at"))
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        return {"ok": False, "error": type(error).__name__}, {}
    now = timezone.now()
    processes: dict[str, dict[str, Any]] = {}
    for beat in beats:
        seen = processes.setdefault(beat.role, {"ok": False, "count": 0, "age_s": _age_s(beat, now)})
        if now - beat.seen_at <= SEEN_WITHIN:
            seen["ok"] = True
            seen["count"] += 1
    return {"ok": True}, processes


def _age_s(beat: ProcessHeartbeat, now: Any) -> float:
    return round(max((now - beat.seen_at).total_seconds(), 0.0), 1)


def _broker() -> dict[str, Any]:
    try:
        with broker_client() as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        return {"ok": False, "error": type(error).__name__}
    return {"ok": True}


def broker_client() -> redis.Redis:
    """Return a client that gives up in a second, where the broker is silent."""
    return redis.Redis.from_url(
        settings.REDIS_CLIENT_URL,
        socket_timeout=BROKER_TIMEOUT_S,
        socket_connect_timeout=BROKER_TIMEOUT_S,
        retry=None,
    )


def _answer(body: dict[str, Any], status: int = 200) -> HttpResponse:
    response = HttpResponse(dumps(body), content_type="application/json", status=status)
    response["Cache-Control"] = "no-store"
    response["Content-Length"] = str(len(response.content))  # CommonMiddleware, which sets it else, is not asked
    return response
