"""What is counted of runs: declared here, counted where it happens, shown by `/metrics`.

Labels are bounded: actions by the names their code has, and words of ours. Never what a user sent.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.db import transaction
from prometheus_client import Counter, Gauge, Histogram

from telemetry.counting import counted

OUTCOMES = ("succeeded", "failed", "retried")

TRANSITIONS = Counter(
    "runyard_run_transitions",
    "Runs that reached a status; CREATED counts launches, and a resumed run reaches statuses again.",
    ["action", "mode", "status"],
    registry=counted,
)
INPUTS = Counter(
    "runyard_inputs",
    "Calls of an action on an input that were recorded: succeeded, failed, or retried, which is to be called again.",
    ["action", "outcome"],
    registry=counted,
)
INPUT_SECONDS = Counter(
    "runyard_input_seconds", "Seconds that those calls took together.", ["action"], registry=counted
)
CHECKPOINT_SECONDS = Histogram(
    "runyard_checkpoint_seconds",
    "How long it took to record a checkpoint: one transaction with the results of about a second.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0),
    registry=counted,
)
LIVE_REFUSALS = Counter(
    "runyard_live_refusals",
    "Live calls that were answered 503: no_slot (as many wait as may), no_worker (none took it in time), no_broker.",
    ["reason"],
    registry=counted,
)
LIVE_SLOTS = Gauge("runyard_live_slots", "Live calls that may wait at once in all web processes.", registry=counted)
LIVE_SLOTS_TAKEN = Gauge("runyard_live_slots_taken", "Live calls that wait now.", registry=counted)
LIVE_SLOTS.set_function(lambda: settings.RUNYARD_MAX_LIVE_CALLS)
SWEEP_FOUND = Counter(
    "runyard_sweep_found",
    "What the sweep of runs set right, by kind; expired_leases, lost_ready_runs and ended_live_calls should be rare.",
    ["kind"],
    registry=counted,
)
SWEEP_SECONDS = Histogram(
    "runyard_sweep_seconds",
    "How long a sweep of runs took; it should come every second.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    registry=counted,
)


for _reason in ("no_slot", "no_worker", "no_broker"):
    LIVE_REFUSALS.labels(_reason)


def count_transition(action_name: str, mode: str, *statuses: str) -> None:
    """Count that a run of an action reached statuses, once the transaction that says so has committed."""

    def count() -> None:
        for status in statuses:
            TRANSITIONS.labels(action_name, mode, status).inc()

    transaction.on_commit(count)


def count_inputs(action_name: str, *, succeeded: int, failed: int, retried: int, seconds: float) -> None:
    """Count what a checkpoint recorded, and the seconds that the action was called for."""
    for outcome, number in zip(OUTCOMES, (succeeded, failed, retried), strict=True):
        if number:
            INPUTS.labels(action_name, outcome).inc(number)
    INPUT_SECONDS.labels(action_name).inc(seconds)


def count_sweep(found: Mapping[str, int], *, seconds: float) -> None:
    """Count what a sweep set right, by kind, and how long it took."""
    for kind, number in found.items():
        SWEEP_FOUND.labels(kind).inc(number)
    SWEEP_SECONDS.observe(seconds)
