"""What monitoring reads: `/metrics`, in Prometheus' formats (contract section 6).

How things stand comes from the database, what is counted from Redis (`telemetry.counting`), so that every web process
tells the same. It tells of no workspace, which is why it needs no key.
"""

from __future__ import annotations

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from config.metric_families import COLLECTORS, begin_at_zero

log = structlog.get_logger(__name__)

registry = CollectorRegistry(auto_describe=False)
for collector in COLLECTORS:
    registry.register(collector)


@csrf_exempt  # a method that is not taken is a 405, not a missing token
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with all metrics, in the format that the scraper asks for; 503 while the database is away."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    begin_at_zero()
    try:
        response = HttpResponse(encode(registry), content_type=content_type)
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        log.warning("metrics_not_read", error=str(error).strip())
        response = HttpResponse(f"{type(error).__name__}\n", content_type="text/plain", status=503)
        response["Retry-After"] = "2"
    response["Cache-Control"] = "no-store"
    response["Content-Length"] = str(len(response.content))  # CommonMiddleware, which sets it else, is not asked
    return response
