"""When a callback is sent again: the table, its jitter, Retry-After, and the scale."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks import retries

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY_S = 24 * 3600
TABLE = [5, 30, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600]  # contract, section 3


def test_the_table() -> None:
    for attempts, expected in enumerate(TABLE, start=1):
        delays = [retries.delay_s(attempts) for _ in range(200)]
        assert all(delay is not None and 0.9 * expected <= delay <= 1.1 * expected for delay in delays)
        assert len(set(delays)) > 100
    assert retries.delay_s(10) is None
    assert retries.delay_s(11, retry_after_s=60) is None


def test_what_the_receiver_asks_for_is_the_least() -> None:
    assert retries.delay_s(1, retry_after_s=120) == 120
    assert 5.5 >= (retries.delay_s(1, retry_after_s=1) or 0) >= 4.5
    assert 5.5 >= (retries.delay_s(1, retry_after_s=0) or 0) >= 4.5


def test_the_scale_multiplies_every_delay(settings: Any) -> None:
    settings.RUNYARD_CALLBACK_RETRY_SCALE = 0.01
    assert 0.045 <= (retries.delay_s(1) or 0) <= 0.055
    assert retries.delay_s(1, retry_after_s=120) == pytest.approx(1.2)
    assert retries.scaled(300) == pytest.approx(3)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("-5", 0),
        ("86400", DAY_S),
        ("86401", DAY_S),
        ("9" * 6000, DAY_S),
        ("Sun, 01 Mar 2026 12:02:00 GMT", 120),  # the three forms of RFC 9110, section 5.6.7
        ("Sunday, 01-Mar-26 12:02:00 GMT", 120),
        ("Sun Mar  1 12:02:00 2026", 120),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sunday, 01-Mar-99 12:02:00 GMT", 0),  # more than fifty years ahead, so in the past
        ("Fri, 01 Mar 2030 12:02:00 GMT", DAY_S),
        ("Sun, 31 Feb 2026 12:02:00 GMT", None),
        ("Sun, 01 Mar 2026 12:02:00 +0100", None),
        ("", None),
        (None, None),
        ("soon", None),
        ("1.5", None),
        ("1e3", None),
        ("+5", None),
        ("١٢", None),
        ("²", None),
        ("120, 130", None),
    ],
)
def test_retry_after_in_all_its_forms(header: str | None, expected: float | None) -> None:
    assert retries.retry_after_s(header, now=NOW) == expected


@given(
    st.text() | st.from_regex(r"-?[0-9]{1,400}") | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4}.*")
)
def test_whatever_retry_after_says_is_a_delay_or_nothing(header: str) -> None:
    told = retries.retry_after_s(header, now=NOW)
    assert told is None or 0 <= told <= DAY_S
