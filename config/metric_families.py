"""What `/metrics` tells besides what processes count: how everything stands now, asked where that is known.

Each collector is a few queries over a bounded number of rows, whatever there is in the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import accumulate
from typing import Any

import redis
import structlog
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import runs.counters
import runs.recovery
import webhooks.counters
import webhooks.recovery
from actions import registry
from config.health import ROLES, SEEN_WITHIN, broker_client
from config.models import ProcessHeartbeat
from runs import gauges as of_runs
from schedules import totals
from schedules.clock import database_time
from schedules.models import FireKind, Schedule
from schedules.totals import BOUNDS_S, Total
from telemetry import counting
from webhooks import gauges as of_callbacks

log = structlog.get_logger(__name__)


def _gauge(name: str, help: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"runyard_{name}", help, labels=labels)


class RunCollector(Collector):
    """Runs that are unfinished, batches that wait or are in hand, and what is still to be made into callbacks."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families, read from the database at this moment."""
        unfinished = _gauge(
            "runs",
            f"Unfinished runs, STOPPED ones included; {of_runs.COUNTED_RUNS:,} are counted at most.",
            *("action", "mode", "status"),
        )
        for one in of_runs.unfinished():
            unfinished.add_metric([one.action_name, one.mode, one.status], one.runs)
        yield unfinished
        waiting = _gauge(
            "ready_batches",
            f"Batches that wait for a worker of runs; {of_runs.COUNTED_BATCHES:,} are counted at most.",
            "action",
        )
        wait = _gauge(
            "batch_wait_seconds",
            "For how long the run with ready batches that waits longest has not been served;"
            " 0 where a limit or a pause is what it waits for.",
            "action",
        )
        for ready in of_runs.ready():
            waiting.add_metric([ready.action_name], ready.batches)
            wait.add_metric([ready.action_name], ready.wait_s)
        yield from (waiting, wait)
        leased, outbox = of_runs.leased(), of_runs.outbox()
        yield _single("leased_batches", "Batches in workers' hands, live calls included.", leased.batches)
        yield _single(
            "lease_overdue_seconds",
            "For how long the lease that ran out first has been over without anybody seeing to it.",
            leased.overdue_s,
        )
        yield _single(
            "outbox_entries",
            f"Checkpoints and ends that callbacks are still to be made of; {of_runs.COUNTED_ENTRIES:,} at most.",
            outbox.entries,
        )
        yield _single("outbox_wait_seconds", "For how long the oldest of them has waited.", outbox.wait_s)


class CallbackCollector(Collector):
    """Callbacks that are still to arrive, and their receivers."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families, read from the database at this moment."""
        undelivered = of_callbacks.undelivered()
        callbacks = _gauge(
            "callbacks",
            f"Callbacks that are still to arrive; {of_callbacks.COUNTED_CALLBACKS:,} of each status at most.",
            "status",
        )
        callbacks.add_metric(["PENDING"], undelivered.pending)
        callbacks.add_metric(["RUNNING"], undelivered.running)
        yield callbacks
        yield _single(
            "callback_wait_seconds",
            "For how long the callback has waited that may be sent first: it is due, and its receiver is not paused.",
            undelivered.wait_s,
        )
        receivers = _gauge("receivers", "Receivers of callbacks, by status.", "status")
        for status, count in of_callbacks.receivers().items():
            receivers.add_metric([status], count)
        yield receivers


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
        yield _single(
            "schedule_overdue_seconds",
            "For how long the schedule that waits longest has been due; more than some seconds say that none is fired.",
            _overdue_s(),
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


class ProcessCollector(Collector):
    """Which workers and beat are alive, by their last sign of life."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families, read from the database at this moment."""
        now = timezone.now()
        alive = dict.fromkeys([*ROLES, "beat"], 0)
        for role, seen_at in ProcessHeartbeat.objects.values_list("role", "seen_at"):
            if role in alive and now - seen_at <= SEEN_WITHIN:
                alive[role] += 1
        processes = _gauge(
            "processes", "Workers by the queue they serve, and beat, that gave a sign of life in 15 s.", "role"
        )
        for role, count in alive.items():
            processes.add_metric([role], count)
        yield processes


class BrokerCollector(Collector):
    """What waits in the broker, and what all processes have counted there; without it only that it is away."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families, as Redis has them at this moment."""
        waiting = _gauge(
            "queue_messages",
            "Messages that wait in the broker, by queue: each wakes a worker, and does not say how much there is.",
            "queue",
        )
        counted: list[Metric] = []
        try:
            counted = counting.read()
            for queue, count in _queues().items():
                waiting.add_metric([queue], count)
        except (redis.RedisError, OSError) as error:
            log.warning("counters_not_read", error=f"{type(error).__name__}: {error}")
        yield _single("broker_up", "Whether Redis answers; without it nothing is told that is counted.", bool(counted))
        yield waiting
        yield from counted


def _queues() -> dict[str, int]:
    with broker_client() as client, client.pipeline(transaction=False) as pipeline:
        for role in ROLES:
            pipeline.llen(role)
        return dict(zip(ROLES, pipeline.execute(), strict=True))


def _single(name: str, help: str, value: Any) -> Metric:
    return GaugeMetricFamily(f"runyard_{name}", help, value=float(value))


def begin_at_zero() -> None:
    """Tell of each action, kind and outcome from the beginning: what appears with its first count has not risen."""
    for name in registry.names():
        for outcome in runs.counters.OUTCOMES:
            runs.counters.INPUTS.labels(name, outcome)
        runs.counters.INPUT_SECONDS.labels(name)
    for found, counter in (
        (runs.recovery.Found, runs.counters.SWEEP_FOUND),
        (webhooks.recovery.Found, webhooks.counters.SWEEP_FOUND),
    ):
        for kind in fields(found):
            counter.labels(kind.name)
    for outcome in webhooks.counters.OUTCOMES:
        webhooks.counters.ATTEMPT_SECONDS.labels(outcome)


COLLECTORS = (RunCollector(), CallbackCollector(), ScheduleCollector(), ProcessCollector(), BrokerCollector())
