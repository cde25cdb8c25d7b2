"""Due times across clock changes: tables of real nights, and Debian's cron simulated beside them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from schedules import cron, zones
from schedules.cron_times import FIRST, LAST, count_times, next_time
from tests.schedules.debian_cron import Job, days_of_change, jobs, runs_of

SPRING_AND_AUTUMN = [
    # Berlin: 2:00 becomes 3:00, and 3:00 becomes 2:00
    ("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00+01:00", ["2025-03-30T03:00+02:00", "2025-03-31T02:30+02:00"]),
    ("0 3 * * *", "Europe/Berlin", "2025-03-29T12:00+01:00", ["2025-03-30T03:00+02:00", "2025-03-31T03:00+02:00"]),
    (
        "0,30 2 * * *",
        "Europe/Berlin",
        "2025-03-29T12:00+01:00",
        ["2025-03-30T03:00+02:00", "2025-03-31T02:00+02:00", "2025-03-31T02:30+02:00"],
    ),
    (
        "0,30 2,3 * * *",
        "Europe/Berlin",
        "2025-03-29T12:00+01:00",
        ["2025-03-30T03:00+02:00", "2025-03-30T03:30+02:00", "2025-03-31T02:00+02:00"],
    ),
    ("30 * * * *", "Europe/Berlin", "2025-03-30T00:45+01:00", ["2025-03-30T01:30+01:00", "2025-03-30T03:30+02:00"]),
    ("@hourly", "Europe/Berlin", "2025-03-30T00:45+01:00", ["2025-03-30T01:00+01:00", "2025-03-30T03:00+02:00"]),
    ("0 */2 * * *", "Europe/Berlin", "2025-03-30T00:45+01:00", ["2025-03-30T04:00+02:00", "2025-03-30T06:00+02:00"]),
    ("*/30 2 * * *", "Europe/Berlin", "2025-03-29T12:00+01:00", ["2025-03-31T02:00+02:00", "2025-03-31T02:30+02:00"]),
    ("30 2 30 3 *", "Europe/Berlin", "2025-03-01T00:00+01:00", ["2025-03-30T03:00+02:00", "2026-03-30T02:30+02:00"]),
    ("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00+02:00", ["2025-10-26T02:30+02:00", "2025-10-27T02:30+01:00"]),
    ("30 2 * * *", "Europe/Berlin", "2025-10-26T02:45+02:00", ["2025-10-27T02:30+01:00"]),
    ("30 2 * * *", "Europe/Berlin", "2025-10-26T02:15+01:00", ["2025-10-27T02:30+01:00"]),
    ("30 2 * * *", "Europe/Berlin", "2025-10-26T02:45+01:00", ["2025-10-27T02:30+01:00"]),
    ("0 3 * * *", "Europe/Berlin", "2025-10-26T02:15+02:00", ["2025-10-26T03:00+01:00", "2025-10-27T03:00+01:00"]),
    (
        "30 * * * *",
        "Europe/Berlin",
        "2025-10-26T01:45+02:00",
        ["2025-10-26T02:30+02:00", "2025-10-26T02:30+01:00", "2025-10-26T03:30+01:00"],
    ),
    (
        "*/30 2 * * *",
        "Europe/Berlin",
        "2025-10-26T02:10+02:00",
        ["2025-10-26T02:30+02:00", "2025-10-26T02:00+01:00", "2025-10-26T02:30+01:00", "2025-10-27T02:00+01:00"],
    ),
    ("*/30 2 30 3 *", "Europe/Berlin", "2025-03-01T00:00+01:00", ["2026-03-30T02:00+02:00", "2026-03-30T02:30+02:00"]),
    (
        "*/30 2 26 10 *",
        "Europe/Berlin",
        "2025-10-26T02:45+02:00",
        ["2025-10-26T02:00+01:00", "2025-10-26T02:30+01:00", "2026-10-26T02:00+01:00"],
    ),
    # New York
    ("30 2 * * *", "America/New_York", "2025-03-08T12:00-05:00", ["2025-03-09T03:00-04:00", "2025-03-10T02:30-04:00"]),
    ("15 * * * *", "America/New_York", "2025-03-09T01:00-05:00", ["2025-03-09T01:15-05:00", "2025-03-09T03:15-04:00"]),
    ("30 1 * * *", "America/New_York", "2025-11-01T12:00-04:00", ["2025-11-02T01:30-04:00", "2025-11-03T01:30-05:00"]),
    (
        "15 * * * *",
        "America/New_York",
        "2025-11-02T00:30-04:00",
        ["2025-11-02T01:15-04:00", "2025-11-02T01:15-05:00", "2025-11-02T02:15-05:00"],
    ),
    # Lord Howe: half an hour, 2:00 becomes 1:30 and 2:00 becomes 2:30
    (
        "30 * * * *",
        "Australia/Lord_Howe",
        "2025-04-06T00:45+11:00",
        ["2025-04-06T01:30+11:00", "2025-04-06T01:30+10:30", "2025-04-06T02:30+10:30"],
    ),
    (
        "@hourly",
        "Australia/Lord_Howe",
        "2025-04-06T00:45+11:00",
        ["2025-04-06T01:00+11:00", "2025-04-06T02:00+10:30", "2025-04-06T03:00+10:30"],
    ),
    (
        "30 1 * * *",
        "Australia/Lord_Howe",
        "2025-04-06T00:45+11:00",
        ["2025-04-06T01:30+11:00", "2025-04-07T01:30+10:30"],
    ),
    ("45 1 * * *", "Australia/Lord_Howe", "2025-04-06T01:35+10:30", ["2025-04-07T01:45+10:30"]),
    (
        "0 2 * * *",
        "Australia/Lord_Howe",
        "2025-04-06T00:45+11:00",
        ["2025-04-06T02:00+10:30", "2025-04-07T02:00+10:30"],
    ),
    (
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2025-10-05T00:45+10:30",
        ["2025-10-05T02:30+11:00", "2025-10-06T02:15+11:00"],
    ),
    (
        "30 * * * *",
        "Australia/Lord_Howe",
        "2025-10-05T00:45+10:30",
        ["2025-10-05T01:30+10:30", "2025-10-05T02:30+11:00", "2025-10-05T03:30+11:00"],
    ),
    ("@hourly", "Australia/Lord_Howe", "2025-10-05T00:45+10:30", ["2025-10-05T01:00+10:30", "2025-10-05T03:00+11:00"]),
    # Casablanca: back for Ramadan, forward after it
    ("30 2 * * *", "Africa/Casablanca", "2025-02-22T12:00+01:00", ["2025-02-23T02:30+01:00", "2025-02-24T02:30+00:00"]),
    ("30 2 * * *", "Africa/Casablanca", "2025-04-05T12:00+00:00", ["2025-04-06T03:00+01:00", "2025-04-07T02:30+01:00"]),
    (
        "30 * * * *",
        "Africa/Casablanca",
        "2025-02-23T02:00+01:00",
        ["2025-02-23T02:30+01:00", "2025-02-23T02:30+00:00", "2025-02-23T03:30+00:00"],
    ),
    ("30 2 * * *", "Africa/Casablanca", "2024-03-09T12:00+01:00", ["2024-03-10T02:30+01:00", "2024-03-11T02:30+00:00"]),
    ("30 2 * * *", "Africa/Casablanca", "2024-04-13T12:00+00:00", ["2024-04-14T03:00+01:00", "2024-04-15T02:30+01:00"]),
    # Dublin: the summer's is the standard time, and DST is an hour less
    ("30 1 * * *", "Europe/Dublin", "2025-03-29T12:00+00:00", ["2025-03-30T02:00+01:00", "2025-03-31T01:30+01:00"]),
    ("30 1 * * *", "Europe/Dublin", "2025-10-25T12:00+01:00", ["2025-10-26T01:30+01:00", "2025-10-27T01:30+00:00"]),
    # Clocks changed at midnight, by two hours, and to another minute
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00-03:00", ["2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00"]),
    ("0 0 * * *", "America/Sao_Paulo", "2019-02-16T12:00-02:00", ["2019-02-17T00:00-03:00", "2019-02-18T00:00-03:00"]),
    ("0 23 * * *", "America/Sao_Paulo", "2019-02-16T12:00-02:00", ["2019-02-16T23:00-02:00", "2019-02-17T23:00-03:00"]),
    (
        "30 1,2 * * *",
        "Antarctica/Troll",
        "2025-03-29T12:00+00:00",
        ["2025-03-30T03:00+02:00", "2025-03-31T01:30+02:00"],
    ),
    ("0 0 * * *", "America/St_Johns", "1988-04-02T12:00-03:30", ["1988-04-03T00:00-03:30", "1988-04-04T00:00-01:30"]),
    ("30 0 * * *", "America/St_Johns", "1988-04-02T12:00-03:30", ["1988-04-03T02:01-01:30", "1988-04-04T00:30-01:30"]),
    # Exactly three hours count as DST
    ("0 2 * * *", "Antarctica/Casey", "2020-10-03T12:00+08:00", ["2020-10-04T03:01+11:00", "2020-10-05T02:00+11:00"]),
    ("0 22 * * *", "Antarctica/Casey", "2021-03-13T12:00+11:00", ["2021-03-13T22:00+11:00", "2021-03-14T22:00+08:00"]),
    # More is a correction: there was no 30 December 2011 in Samoa
    ("0 8 * * *", "Pacific/Apia", "2011-12-29T00:00-10:00", ["2011-12-29T08:00-10:00", "2011-12-31T08:00+14:00"]),
    ("0 0 * * *", "Pacific/Apia", "2011-12-29T12:00-10:00", ["2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00"]),
    ("@hourly", "Pacific/Apia", "2011-12-29T22:30-10:00", ["2011-12-29T23:00-10:00", "2011-12-31T00:00+14:00"]),
    ("30 23 30 12 *", "Pacific/Apia", "2011-12-29T00:00-10:00", ["2012-12-30T23:30+14:00"]),
    # However far back, once (and a seven-hour change is as far as it went)
    ("0 20 * * *", "Antarctica/Vostok", "1994-01-31T12:00+07:00", ["1994-01-31T20:00+07:00", "1994-02-01T20:00+00:00"]),
    # No change at all
    ("30 2 * * *", "UTC", "2025-03-29T12:00+00:00", ["2025-03-30T02:30+00:00", "2025-03-31T02:30+00:00"]),
    ("30 2 * * *", "Etc/GMT+5", "2025-03-29T12:00-05:00", ["2025-03-30T02:30-05:00", "2025-03-31T02:30-05:00"]),
    ("0 9 * * MON", "Asia/Kathmandu", "2025-10-26T00:00+05:45", ["2025-10-27T09:00+05:45", "2025-11-03T09:00+05:45"]),
]

ZONES = """
    UTC Europe/Berlin Europe/Dublin America/New_York America/Sao_Paulo America/St_Johns America/Havana America/Nuuk
    Atlantic/Azores Africa/Cairo Africa/Casablanca Asia/Gaza Asia/Tehran Asia/Kathmandu Australia/Lord_Howe
    Antarctica/Troll Antarctica/Casey Pacific/Apia Pacific/Kiritimati
"""
WINDOW_DAYS = 2
EVERY_NIGHT = Job("30 2 * * *", *map(frozenset, ({30}, {2}, range(1, 32), range(1, 13), range(7))))


def due(text: str, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    found, read = [], cron.read(text)
    while (at := next_time(read, zone, after)) is not None and at <= until:
        found.append(at)
        after = at
    return found


@pytest.mark.parametrize(("text", "zone", "after", "expected"), SPRING_AND_AUTUMN)
def test_what_is_due_on_the_days_of_change(text, zone, after, expected):
    start, expected = datetime.fromisoformat(after), [datetime.fromisoformat(at) for at in expected]
    zone = zones.find(zone)
    assert start.astimezone(zone).utcoffset() == start.utcoffset(), "the table is wrong"
    found = due(text, zone, start.astimezone(UTC), expected[-1])
    assert [at.astimezone(zone).isoformat() for at in found] == [at.isoformat() for at in expected]
    assert count_times(cron.read(text), zone, start.astimezone(UTC), expected[-1]) == len(expected)
    assert all(at.tzinfo is UTC for at in found)


@settings(max_examples=40, deadline=None)
@given(
    job=jobs(),
    name=st.sampled_from(ZONES.split()),
    year=st.integers(1975, 2037),
    which=st.integers(0, 3),
    after_s=st.integers(0, WINDOW_DAYS * 86_400),
)
@example(EVERY_NIGHT, "Europe/Berlin", 2025, 1, 86_400 + 75 * 60)  # asked in the middle of the longer night
@example(EVERY_NIGHT, "Antarctica/Casey", 2020, 1, 0)
@example(EVERY_NIGHT, "Pacific/Apia", 2011, 2, 0)
def test_it_does_what_debians_manual_says(job, name, year, which, after_s):
    assume(job.can_come)
    zone = zones.find(name)
    midnights = days_of_change(zone, year)
    start = midnights[which % len(midnights)] - timedelta(days=1)
    end = start + timedelta(days=WINDOW_DAYS)
    runs = [at for at in runs_of(job, zone, start, WINDOW_DAYS) if start <= at < end]
    last_moment = end - timedelta(seconds=1)
    assert due(job.text, zone, start - timedelta(seconds=1), last_moment) == runs
    after = start + timedelta(seconds=after_s)
    later = [at for at in runs if at > after]
    assert due(job.text, zone, after, later[1] if len(later) > 1 else last_moment) == later[:2]
    assert count_times(cron.read(job.text), zone, after, last_moment) == len(later)


@settings(max_examples=30, deadline=None)
@given(
    job=jobs(),
    name=st.sampled_from(sorted(zones.names())),
    after=st.datetimes(datetime(1972, 2, 1), datetime(2500, 1, 1)),
)
def test_due_times_move_on_and_are_counted_in_any_zone(job, name, after):
    assume(job.can_come)
    read, zone, moments = cron.read(job.text), zones.find(name), [after.replace(tzinfo=UTC)]
    for _ in range(8):
        moments.append(next_time(read, zone, moments[-1]))
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert all(at.second == at.microsecond == 0 for at in moments[1:])
    assert count_times(read, zone, moments[0], moments[-1]) == 8
    assert count_times(read, zone, moments[1], moments[-1] - timedelta(microseconds=1)) == 6


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0 0 29 2 *", "2096-03-01", "2104-02-29"),
        ("0 0 29 2 */7", "2025-01-01", "2032-02-29"),
        ("* * 29 2 */7", "2088-03-01", "2128-02-29"),
        ("0 0 29 2 */7", "2088-03-01", "2128-02-29"),
        ("0 0 30 2 1", "2025-01-01", "2025-02-03"),
        ("0 0 31 4,5 *", "2025-01-01", "2025-05-31"),
        ("@yearly", "2025-01-01", "2026-01-01"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_rare_dates_are_found(text, after, expected, zone):
    zone = zones.find(zone)
    after = datetime.fromisoformat(after).replace(tzinfo=zone).astimezone(UTC)
    found = next_time(cron.read(text), zone, after)
    assert found.astimezone(zone).replace(tzinfo=None) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_ends_of_the_calendar_are_no_error(zone):
    zone, read = zones.find(zone), cron.read("0 0 * * *")
    for year in (1, 1969):
        first = next_time(read, zone, datetime(year, 1, 1, tzinfo=UTC))
        assert FIRST <= first < FIRST + timedelta(days=1)
    assert next_time(read, zone, LAST - timedelta(days=2)) is not None
    for after in (LAST - timedelta(microseconds=1), LAST, datetime.max.replace(tzinfo=UTC)):
        assert next_time(read, zone, after) in (None, LAST)
    assert next_time(cron.read("0 0 29 2 *"), zone, LAST - timedelta(days=2)) is None
    assert count_times(read, zone, LAST, LAST + timedelta(days=9)) == 0
    assert count_times(read, zone, datetime.min.replace(tzinfo=UTC), FIRST + timedelta(days=9)) in (9, 10)
    assert count_times(read, zone, LAST - timedelta(days=9), datetime.max.replace(tzinfo=UTC)) in (9, 10)
