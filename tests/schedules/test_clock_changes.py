"""Changes of a zone's offset are all found, to the second."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest

from schedules import zones
from schedules.clock_changes import Change, changes, changes_in

EGYPT_2010 = ["2010-04-29T22:00 +1", "2010-08-10T21:00 -1", "2010-09-09T22:00 +1", "2010-09-30T21:00 -1"]


@pytest.mark.parametrize(
    ("zone", "year", "expected"),
    [
        ("UTC", 2025, []),
        ("Etc/GMT+5", 2025, []),
        ("Europe/Berlin", 2025, ["2025-03-30T01:00 +1", "2025-10-26T01:00 -1"]),
        ("Europe/Dublin", 2025, ["2025-03-30T01:00 +1", "2025-10-26T01:00 -1"]),
        ("Australia/Lord_Howe", 2025, ["2025-04-05T15:00 -0.5", "2025-10-04T15:30 +0.5"]),
        ("Africa/Casablanca", 2025, ["2025-02-23T02:00 -1", "2025-04-06T02:00 +1"]),
        (
            "Africa/Cairo",
            2010,
            ["2010-04-29T22:00 +1", "2010-08-10T21:00 -1", "2010-09-09T22:00 +1", "2010-09-30T21:00 -1"],
        ),
        ("America/Recife", 2000, ["2000-02-27T02:00 -1", "2000-10-08T03:00 +1", "2000-10-15T02:00 -1"]),
        ("Pacific/Apia", 2011, ["2011-04-02T14:00 -1", "2011-09-24T14:00 +1", "2011-12-30T10:00 +24"]),
        ("Pacific/Kiritimati", 1994, ["1994-12-31T10:00 +24"]),
        ("America/Danmarkshavn", 1996, ["1996-01-01T03:00 +3"]),
        ("Europe/Berlin", 2400, ["2400-03-26T01:00 +1", "2400-10-29T01:00 -1"]),
    ],
)
def test_the_changes_of_a_year(zone, year, expected):
    found = changes_in(zones.find(zone), year)
    assert [f"{at.at:%Y-%m-%dT%H:%M} {(at.after - at.before) / timedelta(hours=1):+g}" for at in found] == expected
    assert all(at.at.second == 0 for at in found)


def test_a_change_at_the_first_moment_of_a_year_is_found_once():
    """No zone had one at New Year of UTC yet, so this one is made up: two POSIX rules, in a file's last line."""
    body = struct.pack(">4s c 15x 6l", b"TZif", b"2", 0, 0, 0, 0, 1, 4) + struct.pack(">l b b", 0, 0, 0) + b"AAA\0"
    zone = ZoneInfo.from_file(BytesIO(body + body + b"\nAAA0BBB,J1/0,J200/0\n"))
    years = range(2029, 2032)
    expected = [datetime(year, 1, 1, tzinfo=UTC) for year in years]
    assert [changes_in(zone, year)[0].at for year in years] == expected
    assert [len(changes_in(zone, year)) for year in years] == [2, 2, 2]


def test_changes_after_a_moment_and_until_another():
    berlin = zones.find("Europe/Berlin")
    spring, autumn = (at.at for at in changes_in(berlin, 2025))
    second = timedelta(seconds=1)
    assert [at.at for at in changes(berlin, spring - second, autumn)] == [spring, autumn]
    assert [at.at for at in changes(berlin, spring, autumn - second)] == []
    assert [at.at.year for at in changes(berlin, spring, datetime(2027, 6, 1, tzinfo=UTC))] == [2025, 2026, 2026, 2027]


def test_what_the_clock_shows():
    spring, autumn = changes_in(zones.find("Europe/Berlin"), 2025)
    assert spring.is_forward
    assert (spring.closing, spring.opening) == (datetime(2025, 3, 30, 2), datetime(2025, 3, 30, 3))
    assert not autumn.is_forward
    assert autumn == Change(datetime(2025, 10, 26, 1, tzinfo=UTC), timedelta(hours=2), timedelta(hours=1))
    assert (autumn.closing, autumn.opening) == (datetime(2025, 10, 26, 3), datetime(2025, 10, 26, 2))
