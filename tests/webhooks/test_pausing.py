"""How a receiver fares: what speaks against it, when it is paused, for how long, and what brings it back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.webhooks.factories import attempt
from webhooks.models import ReceiverStatus
from webhooks.pausing import FAILURES_IN_ROW, Standing

NEW = Standing(ReceiverStatus.OK, 0, None, "")


def after(standing: Standing, *statuses: int | None, is_probe: bool = False) -> Standing:
    for status in statuses:
        standing = standing.after(attempt(status), is_probe=is_probe)
    return standing


@pytest.mark.parametrize("status", [None, 500, 503, 429, 301, 400, 404, 408, 999])
def test_ten_failures_in_a_row_are_a_pause(status: int | None) -> None:
    almost = after(NEW, *[status] * (FAILURES_IN_ROW - 1))
    assert (almost.is_paused, almost.pause_s, almost.failures_in_row) == (False, None, 9)
    paused = after(almost, status)
    assert (paused.status, paused.pause_s) == (ReceiverStatus.PAUSED, 5)
    assert paused.last_error == attempt(status).error


def test_a_success_in_between_begins_the_count_anew() -> None:
    almost = after(NEW, *[500] * 9, 200, *[500] * 9)
    assert (almost.is_paused, almost.failures_in_row) == (False, 9)


def test_410_says_nothing_of_the_receiver() -> None:
    told = after(NEW, *[410] * 50)
    assert (told.is_paused, told.failures_in_row) == (False, 0)
    assert after(NEW, *[500] * 9, 410).failures_in_row == 9
    assert after(NEW, *[500] * 9, 410, 500).is_paused


def test_pauses_double_up_to_five_minutes(settings: Any) -> None:
    paused = after(NEW, *[500] * 10)
    pauses = [paused.pause_s]
    for _ in range(8):
        paused = after(paused, 500, is_probe=True)
        pauses.append(paused.pause_s)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    for _ in range(5000):
        paused = after(paused, 500, is_probe=True)
    assert paused.pause_s == 300
    settings.RUNYARD_CALLBACK_RETRY_SCALE = 0.1
    assert after(NEW, *[500] * 10).pause_s == pytest.approx(0.5)


def test_what_was_under_way_when_the_pause_began_makes_it_no_longer() -> None:
    paused = after(NEW, *[500] * 42)
    assert (paused.pause_s, paused.failures_in_row) == (5, 10)
    before = Standing(ReceiverStatus.PAUSED, 10, 0.0, "")
    late = after(before, 500, None)
    assert (late.pause_s, late.failures_in_row) == (None, 10)  # the pause stays as it is
    assert after(late, 500, is_probe=True).pause_s == 10


@pytest.mark.parametrize("is_probe", [True, False])
def test_any_success_ends_a_pause(is_probe: bool) -> None:
    back = after(after(NEW, *[500] * 15), 200, is_probe=is_probe)
    assert (back.status, back.failures_in_row, back.pause_s) == (ReceiverStatus.OK, 0, None)
    assert back.last_error == "The receiver answered 500."  # told still, with the rate
    assert not after(back, *[500] * 9).is_paused


def test_a_probe_that_is_answered_410_ends_the_pause_and_no_other_410_does() -> None:
    paused = after(NEW, *[500] * 10)
    assert after(paused, 410).is_paused
    told = after(paused, 410, is_probe=True)
    assert (told.is_paused, told.pause_s, told.failures_in_row) == (False, None, 0)


def test_the_rate_is_of_about_a_hundred_attempts() -> None:
    assert (after(NEW, 200).success_rate, after(NEW, 500).success_rate) == (1.0, 0.0)
    assert after(NEW, 200, 410).success_rate == pytest.approx(0.99)
    mixed = after(NEW, *[200, 200, 200, 500] * 200)
    assert mixed.success_rate == pytest.approx(0.75, abs=0.02)
    assert (after(mixed, *[200] * 500).success_rate or 0) > 0.99


def test_what_is_told_of_the_error_is_short() -> None:
    told = NEW.after(replace(attempt(500), error="x" * 5000), is_probe=False)
    assert told.last_error == "x" * 500


def test_a_pause_by_hand_ends_by_a_probe_and_not_by_what_was_under_way() -> None:
    by_hand = Standing(ReceiverStatus.PAUSED, 0, 1.0, "Paused by hand.")
    late = after(by_hand, 200, 500, 410)
    assert (late.status, late.failures_in_row, late.pause_s) == (ReceiverStatus.PAUSED, 0, None)
    assert late.success_rate != 1.0
    assert late.last_error == "Paused by hand."
    assert not after(by_hand, 200, is_probe=True).is_paused
    failing = after(by_hand, 500, is_probe=True)
    assert (failing.is_paused, failing.pause_s) == (True, 5)
