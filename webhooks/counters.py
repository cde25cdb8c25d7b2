"""What is counted of callbacks: declared here, counted where it happens, shown by `/metrics`."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from telemetry.counting import counted
from webhooks.delivery import Attempt
from webhooks.models import CallbackStatus

OUTCOMES = ("success", "failure")

ATTEMPT_SECONDS = Histogram(
    "runyard_callback_attempt_seconds",
    "How long receivers took to answer a callback, or to fail at it, by outcome: success or failure.",
    ["outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0),
    registry=counted,
)
DELIVERY_SECONDS = Histogram(
    "runyard_callback_delivery_seconds",
    "From when a callback was made until its receiver took it, all its attempts and pauses included.",
    buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0),
    registry=counted,
)
GIVEN_UP = Counter(
    "runyard_callbacks_given_up", "Callbacks that FAILED: their receivers took none of ten attempts.", registry=counted
)
SWEEP_FOUND = Counter(
    "runyard_callback_sweep_found", "What the sweep of callbacks set right, by kind.", ["kind"], registry=counted
)


def count_attempt(attempt: Attempt, status: str, *, age_s: float) -> None:
    """Count an attempt that was recorded; `status` is where it brought its callback, made `age_s` ago."""
    ATTEMPT_SECONDS.labels(OUTCOMES[not attempt.is_success]).observe(attempt.duration_ms / 1000)
    if status == CallbackStatus.SUCCESS:
        DELIVERY_SECONDS.observe(age_s)
    elif status == CallbackStatus.FAILED:
        GIVEN_UP.inc()
