from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import ActionError, Retry
from actions.exceptions import backoff_s
from rest.errors import RESERVED_LABELS


def test_an_error_carries_label_message_and_params() -> None:
    error = ActionError("NO_SUCH_PAGE", "gone", {"status": 410, "seen": (1, 2)})
    assert (error.label, error.message, error.params) == ("NO_SUCH_PAGE", "gone", {"status": 410, "seen": [1, 2]})
    assert str(error) == "NO_SUCH_PAGE: gone"
    assert ActionError("X", "y").params == {}


def test_its_texts_can_be_stored() -> None:
    error = ActionError("X", "a\x00b\ud800" + "c" * 5_000)
    assert error.message.startswith("a�b?c")
    assert len(error.message) == 2_000


@pytest.mark.parametrize(
    "label", [*sorted(RESERVED_LABELS), "", "lower", "HAS SPACE", "É", "_A", "1A", "A" * 65, None, 5]
)
def test_a_label_that_may_not_be_used(label: Any) -> None:
    with pytest.raises(ValueError, match="the label"):
        ActionError(label, "message")


@pytest.mark.parametrize(
    "params",
    [
        {"a": math.nan},
        {"a": object()},
        {"a": "\x00"},
        {"a": "\ud800"},
        [1],
        {"a": 10**30},
        {"a": b"\xff"},
        {"a": "x" * 20_000},
    ],
)
def test_params_that_are_no_json(params: Any) -> None:
    with pytest.raises(ValueError, match=r"ActionError\('X'\): params must be a JSON object"):
        ActionError("X", "message", params)


def test_a_retry_carries_its_wait() -> None:
    assert (Retry().after_s, Retry().reason) == (None, "")
    retry = Retry(2.5, "the site is busy\x00")
    assert (retry.after_s, retry.reason, str(retry)) == (2.5, "the site is busy�", "the site is busy�")
    assert str(Retry()) == "the action asked to be tried again later"


@pytest.mark.parametrize("after_s", [-1, math.nan, math.inf, 367 * 86_400, "5", True])
def test_a_wait_that_cannot_be(after_s: Any) -> None:
    with pytest.raises(ValueError, match="takes a number of seconds from 0 to"):
        Retry(after_s)


def test_backoff_doubles_to_its_cap() -> None:
    assert [backoff_s(attempt, random=lambda: 0.0) for attempt in (1, 2, 3, 10, 10_000)] == [1, 2, 4, 450, 450]
    assert [backoff_s(attempt, random=lambda: 1.0) for attempt in (1, 2, 3, 10, 10_000)] == [2, 4, 8, 900, 900]


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_backoff_is_in_the_upper_half_of_its_step(attempt: int, drawn: float) -> None:
    step = backoff_s(attempt, random=lambda: 1.0)
    assert step / 2 <= backoff_s(attempt, random=lambda: drawn) <= step <= 900
