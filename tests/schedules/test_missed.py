"""What becomes of due times that were missed, by `catch_up`, and what is never missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedules import missed
from schedules.due_times import Timing, due_times
from schedules.models import CatchUp, FireKind
from tests.schedules.planned import MINUTE, NOON

MINUTELY, HOURLY = Timing("* * * * *"), Timing("0 * * * *")
Told = list[tuple[str, str, int]]


def settled(
    timing: Timing, catch_up: str, *, away: timedelta, since: datetime = NOON, runs_at_most: int = 1_000
) -> tuple[Told, str | None]:
    """What becomes of due times after a system was down from `since` on, and what is next, as times of day."""
    now = since + away
    due = missed.find(timing, since, catch_up=catch_up, now=now)
    lines, following = missed.settle(due, catch_up=catch_up, now=now, runs_at_most=runs_at_most)
    return [(line.kind, f"{line.due_at:%H:%M}", line.count) for line in lines], following and f"{following:%H:%M}"


@pytest.mark.parametrize("catch_up", CatchUp)
@pytest.mark.parametrize("late_s", [0.0, 0.4, 59.9, 60.0])
def test_a_minute_late_is_not_missed(catch_up: str, late_s: float) -> None:
    told, following = settled(HOURLY, catch_up, away=timedelta(seconds=late_s))
    assert (told, following) == ([("FIRED", "12:00", 1)], "13:00")


def test_two_that_come_within_a_minute_each_fire() -> None:
    assert settled(MINUTELY, CatchUp.NONE, away=MINUTE) == ([("FIRED", "12:00", 1), ("FIRED", "12:01", 1)], "12:02")


def test_one_run_stands_for_all_that_were_missed() -> None:
    told, following = settled(MINUTELY, CatchUp.ONE, away=timedelta(minutes=10, seconds=30))
    assert told == [("FIRED", "12:09", 10), ("FIRED", "12:10", 1)]
    assert following == "12:11"
    assert settled(HOURLY, CatchUp.ONE, away=timedelta(seconds=60.1)) == ([("FIRED", "12:00", 1)], "13:00")


def test_none_is_caught_up() -> None:
    assert settled(HOURLY, CatchUp.NONE, away=timedelta(hours=3, minutes=5)) == ([("MISSED", "15:00", 4)], "16:00")


def test_all_are_caught_up_but_no_more_than_a_hundred() -> None:
    told, following = settled(HOURLY, CatchUp.ALL, away=timedelta(hours=2, minutes=5))
    assert (told, following) == ([("FIRED", f"{hour}:00", 1) for hour in (12, 13, 14)], "15:00")
    told, _ = settled(HOURLY, CatchUp.ALL, away=timedelta(hours=99, minutes=5))
    assert [line[0] for line in told] == ["FIRED"] * 100
    told, _ = settled(HOURLY, CatchUp.ALL, away=timedelta(hours=120, minutes=5))
    assert told[0] == ("MISSED", "08:00", 21)
    assert [line[0] for line in told[1:]] == ["FIRED"] * 100
    assert told[1][1] == "09:00"


def test_what_is_too_much_for_once_is_left_for_the_next_time() -> None:
    away = timedelta(hours=150, minutes=5)
    told, following = settled(HOURLY, CatchUp.ALL, away=away, runs_at_most=30)
    assert ([line[2] for line in told], following) == ([51, *[1] * 30], "21:00")
    first = NOON + timedelta(hours=81)
    rest, following = settled(HOURLY, CatchUp.ALL, away=away - timedelta(hours=81), since=first)
    assert [line[2] for line in rest] == [1] * 70
    assert following == "19:00"


def test_a_year_of_minutes_is_counted_and_not_walked_through() -> None:
    told, _ = settled(MINUTELY, CatchUp.ONE, away=timedelta(days=365, seconds=30))
    assert told[0] == ("FIRED", "11:59", 365 * 24 * 60)


def test_one_shots_follow_catch_up_too() -> None:
    once = Timing(None, schedule_at=NOON)
    hour = timedelta(hours=1)
    assert settled(once, CatchUp.ONE, away=hour) == ([("FIRED", "12:00", 1)], None)
    assert settled(once, CatchUp.ALL, away=hour) == ([("FIRED", "12:00", 1)], None)
    assert settled(once, CatchUp.NONE, away=hour) == ([("MISSED", "12:00", 1)], None)


def test_nothing_is_caught_up_from_after_the_end() -> None:
    until_one = Timing("*/30 * * * *", ends_at=NOON + timedelta(hours=1))
    told, following = settled(until_one, CatchUp.ONE, away=timedelta(hours=5))
    assert (told, following) == ([("FIRED", "13:00", 3)], None)


def test_what_is_told_says_why() -> None:
    now = NOON + timedelta(hours=2, seconds=30)
    reasons = {}
    for catch_up in CatchUp:
        due = missed.find(HOURLY, NOON, catch_up=catch_up, now=now)
        lines, _ = missed.settle(due, catch_up=catch_up, now=now, runs_at_most=10)
        reasons[catch_up.value] = [line.reason for line in lines]
    assert reasons == {
        "one": ["stands for 2 due times that were missed, from 2026-01-15T12:00:00Z on", ""],
        "none": ["3,630 s late; catch_up is none", ""],
        "all": ["7,230 s late", "3,630 s late", ""],
    }


@settings(deadline=None, max_examples=50)
@given(
    cron=st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "15 8,20 * * 1-5"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    since=st.datetimes(datetime(2026, 3, 25), datetime(2026, 4, 8)),
    away=st.timedeltas(timedelta(0), timedelta(days=3)),
    catch_up=st.sampled_from(CatchUp),
    runs_at_most=st.integers(1, 150),
)
def test_every_due_time_is_settled_once(
    cron: str, zone: str, since: datetime, away: timedelta, catch_up: CatchUp, runs_at_most: int
) -> None:
    timing = Timing(cron, zone)
    first = next(due_times(timing, since.replace(tzinfo=UTC)))
    now = first + away
    expected = [first]
    for at in due_times(timing, first):
        if at > now:
            break
        expected.append(at)
    covered: list[datetime] = []
    due_at: datetime | None = first
    while due_at is not None and due_at <= now:
        due = missed.find(timing, due_at, catch_up=catch_up, now=now)
        lines, due_at = missed.settle(due, catch_up=catch_up, now=now, runs_at_most=runs_at_most)
        assert lines
        for line in lines:
            times = expected[len(covered) : len(covered) + line.count]
            assert times[-1] == line.due_at
            covered += times
            is_late = now - line.due_at > missed.LATE
            assert is_late or (line.kind, line.count) == (FireKind.FIRED, 1)
    assert covered == expected
