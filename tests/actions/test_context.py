from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from actions import Context


def test_the_key_is_of_the_input_and_not_of_the_attempt() -> None:
    first, again = Context("a-run", 3, attempt=1), Context("a-run", 3, attempt=2)
    assert first.idempotency_key == again.idempotency_key == "a-run-3"
    assert first.idempotency_key != Context("a-run", 4).idempotency_key
    assert first.idempotency_key != Context("b-run", 3).idempotency_key


def test_the_deadline_is_a_time_in_utc() -> None:
    assert Context("r", deadline_at=1_700_000_000.5).deadline == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)
    assert Context("r").deadline > datetime(9999, 1, 1, tzinfo=UTC)


def test_its_logger_says_which_call_it_is() -> None:
    with capture_logs() as lines:
        Context("a-run", 3, attempt=2).logger.info("looking", host="x")
    assert lines == [
        {"event": "looking", "log_level": "info", "run_uid": "a-run", "input_index": 3, "attempt": 2, "host": "x"}
    ]


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Context("r").attempt = 2
