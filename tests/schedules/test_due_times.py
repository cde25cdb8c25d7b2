"""When a schedule is due: one answer for firing, preview and counting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedules.cron import BadCron
from schedules.due_times import PreviewRow, Timing, count_due, due_times, first_due, last_due, next_due, preview
from schedules.zones import UnknownZone

SECOND = timedelta(seconds=1)
NOW = datetime(2025, 3, 29, 10, 1, 59, 5, tzinfo=UTC)
NINE = datetime(2025, 3, 30, 9, tzinfo=UTC)
MOMENT = datetime(2025, 4, 2, 7, 8, 9, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def all_of(timing, after=NOW, at_most=10):
    return list(islice(due_times(timing, after), at_most))


def test_a_cron_is_due_strictly_later():
    assert next_due(Timing("0 9 * * *"), NOW) == NINE
    assert next_due(Timing("0 9 * * *"), NINE - timedelta(microseconds=1)) == NINE
    assert next_due(Timing("0 9 * * *"), NINE) == NINE + DAY
    assert next_due(Timing("0 9 * * *"), NINE + timedelta(microseconds=1)) == NINE + DAY


def test_moments_may_come_in_any_zone_and_go_out_in_utc():
    elsewhere = NINE.astimezone(timezone(timedelta(hours=5, minutes=45)))
    due = next_due(Timing(None, schedule_at=elsewhere), NOW.astimezone(elsewhere.tzinfo))
    assert (due, due.tzinfo) == (NINE, UTC)
    assert next_due(Timing("0 9 * * *", starts_at=elsewhere), elsewhere - DAY) == NINE
    assert next_due(Timing("0 9 * * *", ends_at=elsewhere), elsewhere) is None


def test_a_one_shot_is_due_once_to_its_very_moment():
    assert all_of(Timing(None, "Europe/Berlin", schedule_at=MOMENT)) == [MOMENT]
    assert next_due(Timing(None, schedule_at=MOMENT), MOMENT) is None


def test_with_both_the_first_is_schedule_at_and_then_the_cron():
    timing = Timing("0 9 * * *", schedule_at=MOMENT)
    first_cron = MOMENT.replace(hour=9, minute=0, second=0, microsecond=0)
    assert all_of(timing, at_most=3) == [MOMENT, first_cron, first_cron + DAY]
    on_the_minute = Timing("0 9 * * *", schedule_at=first_cron)
    assert all_of(on_the_minute, at_most=2) == [first_cron, first_cron + DAY]


def test_starts_at_and_ends_at_are_due_themselves():
    timing = Timing("0 9 * * *", starts_at=NINE + DAY, ends_at=NINE + 3 * DAY)
    assert all_of(timing) == [NINE + DAY, NINE + 2 * DAY, NINE + 3 * DAY]
    timing = Timing("0 9 * * *", starts_at=NINE + DAY + SECOND, ends_at=NINE + 3 * DAY - SECOND)
    assert all_of(timing) == [NINE + 2 * DAY]
    assert all_of(Timing("0 9 * * *", starts_at=NINE + DAY, ends_at=NINE)) == []
    assert all_of(Timing(None, schedule_at=MOMENT, starts_at=MOMENT, ends_at=MOMENT)) == [MOMENT]


def test_a_schedule_at_outside_of_them_is_not_due():
    assert all_of(Timing(None, schedule_at=MOMENT, starts_at=MOMENT + SECOND)) == []
    assert all_of(Timing(None, schedule_at=MOMENT, ends_at=MOMENT - SECOND)) == []
    assert all_of(Timing("0 9 * * *", schedule_at=MOMENT, starts_at=NINE + 9 * DAY), at_most=1) == [NINE + 9 * DAY]
    assert all_of(Timing("0 9 * * *", schedule_at=MOMENT, ends_at=NINE + DAY)) == []


def test_a_preview_shows_the_zones_clock():
    rows = preview(Timing("30 2 * * *", "Europe/Berlin"), datetime(2025, 3, 29, tzinfo=UTC), 3)
    assert [row.local.isoformat() for row in rows] == [
        "2025-03-29T02:30:00+01:00",
        "2025-03-30T03:00:00+02:00",
        "2025-03-31T02:30:00+02:00",
    ]
    assert rows[1] == PreviewRow(datetime(2025, 3, 30, 1, tzinfo=UTC), rows[1].local)
    assert all(row.at == row.local and row.at.tzinfo is UTC for row in rows)
    assert preview(Timing("30 2 * * *"), NOW, 0) == []
    assert len(preview(Timing(None, schedule_at=MOMENT), NOW, 100)) == 1


def test_a_timing_needs_something_to_go_by_and_moments_with_a_zone():
    with pytest.raises(ValueError, match="a cron, a schedule_at, or both"):
        Timing(None)
    for field in ("schedule_at", "starts_at", "ends_at"):
        with pytest.raises(ValueError, match="needs a zone"):
            Timing("@daily", **{field: datetime(2025, 1, 1)})
    with pytest.raises(ValueError, match="needs a zone"):
        next_due(Timing("@daily"), datetime(2025, 1, 1))


def test_what_is_wrong_with_cron_and_zone_is_told_apart():
    for ask in (lambda timing: next_due(timing, NOW), lambda timing: count_due(timing, NOW, NOW + DAY)):
        with pytest.raises(BadCron):
            ask(Timing("@reboot"))
        with pytest.raises(UnknownZone):
            ask(Timing("@daily", "Europe/Atlantis"))
        with pytest.raises(UnknownZone):
            ask(Timing(None, "Europe/Atlantis", schedule_at=MOMENT))


def test_a_year_of_minutes_is_counted():
    year = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    assert count_due(Timing("* * * * *", "Europe/Berlin"), *year) == 365 * 1_440
    # 1:35, 1:42, 1:49 and 1:56 come twice; 2:00, 2:07, 2:14, 2:21 and 2:28 are skipped
    assert count_due(Timing("*/7 * * * *", "Australia/Lord_Howe"), *year) == 365 * 24 * 9 + 4 - 5
    # Of each real minute, but for the hour that comes again
    assert count_due(Timing("0-59 0-23 * * *", "Europe/Berlin"), *year) == 365 * 1_440 - 60


def test_the_first_and_the_last_of_many():
    timing, until = Timing("* * * * *"), NINE + 3_000 * DAY
    assert first_due(timing, NINE, until, 2) == [NINE + timedelta(minutes=1), NINE + timedelta(minutes=2)]
    assert last_due(timing, NINE, until, 2) == [until - timedelta(minutes=1), until]
    assert last_due(timing, NINE, until - SECOND, 1) == [until - timedelta(minutes=1)]
    assert last_due(Timing("0 0 1 1 *"), NOW, until, 2) == [datetime(at, 1, 1, tzinfo=UTC) for at in (2032, 2033)]
    for between in (first_due, last_due):
        assert between(timing, NINE, until, 0) == []
        assert between(timing, NINE, NINE, 5) == []
        assert between(timing, until, NINE, 5) == []


moments = st.datetimes(datetime(2024, 12, 1), datetime(2025, 12, 1), timezones=st.just(UTC))
crons = st.sampled_from(["30 2 * * *", "*/17 2,3 * * *", "0 */6 * * *", "0 3 29-30 * *", "15 1 * * SUN", "0 0 29 2 *"])


@settings(max_examples=30, deadline=None)
@given(
    cron=st.none() | crons,
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca"]),
    schedule_at=moments,
    has_schedule_at=st.booleans(),
    starts_at=st.none() | moments,
    ends_at=st.none() | moments,
    after=moments,
    days=st.integers(0, 60),
    limit=st.integers(1, 40),
)
def test_counting_and_both_ends_agree_with_asking_again_and_again(
    cron, zone, schedule_at, has_schedule_at, starts_at, ends_at, after, days, limit
):
    timing = Timing(cron, zone, schedule_at if has_schedule_at or cron is None else None, starts_at, ends_at)
    until = after + timedelta(days=days)
    one_by_one, at = [], after
    while (at := next_due(timing, at)) is not None and at <= until:
        one_by_one.append(at)
    assert one_by_one == sorted(set(one_by_one))
    assert all((starts_at or at) <= at <= (ends_at or at) for at in one_by_one)
    assert count_due(timing, after, until) == len(one_by_one)
    assert first_due(timing, after, until, limit) == one_by_one[:limit]
    assert last_due(timing, after, until, limit) == one_by_one[-limit:]
    assert [row.at for row in preview(timing, after, 5)] == list(islice(due_times(timing, after), 5))
