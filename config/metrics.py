"""What monitoring reads: `/metrics`, in Prometheus' formats (contract section 6).

All of it comes from the database, so that every web process tells the same, and counters go on where they were after a
restart. It tells of no workspace, which is why it needs no key.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from schedules import totals
from schedules.clock import database_time
from schedules.models import FireKind, Schedule
from schedules.totals import BOUNDS_S, Total

log = structlog.get_logger(__name__)


class ScheduleCollector(Collector):
    """How schedules fire: what became of due times, how late runs were launched, and whether some wait now."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families, read from the database at this moment."""
        found = totals.read()
        fires = CounterMetricFamily(
            "runyard_schedule_fires",
            "Due times by what became of them: FIRED and TRIGGERED launched a run, SKIPPED and MISSED none.",
            labels=["kind"],
        )
        for kind, total in found.items():
            fires.add_metric([kind], total.count)
        yield fires
        yield _lateness(found[FireKind.FIRED])
        yield GaugeMetricFamily(
            "runyard_schedule_overdue_seconds",
            "For how long the schedule that waits longest has been due; more than some seconds say that none is fired.",
            value=_overdue_s(),
        )


def _lateness(fired: Total) -> Metric:
    counts = zip([*map(str, BOUNDS_S), "+Inf"], accumulate(fired.late_counts), strict=True)
    return HistogramMetricFamily(
        "runyard_schedule_lateness_seconds",
        "How long after their due time runs of schedules were launched, those that were caught up included.",
        buckets=list(counts),
        sum_value=fired.late_s,
    )


def _overdue_s() -> float:
    first = Schedule.objects.due().values_list("next_execution_at", flat=True).first()
    return (database_time() - first).total_seconds() if first else 0.0


registry = CollectorRegistry(auto_describe=False)
registry.register(ScheduleCollector())


@csrf_exempt  # a method that is not taken is a 405, not a missing token
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with all metrics, in the format that the scraper asks for; 503 while the database is away."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
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
