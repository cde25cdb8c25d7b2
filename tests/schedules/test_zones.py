"""Zones are found by the exact names of the database, and one that goes away is told apart."""

from __future__ import annotations

import shutil
import zoneinfo
from datetime import datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import zones
from schedules.zones import UnknownZone


@pytest.fixture
def database(tmp_path):
    """Yield a time zone database before the package's, with the zone Test/Town and files that are no zones."""
    with as_file(files("tzdata").joinpath("zoneinfo/Europe/Paris")) as paris:
        for name in ("Test/Town", "localtime", "Factory", "posixrules", "posix/Europe/Paris", "right/Europe/Paris"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paris, tmp_path / name)
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    zones.forget()
    yield tmp_path
    zoneinfo.reset_tzpath()
    zones.forget()


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "US/Pacific", "Etc/GMT+12", "EST5EDT", "GMT0"]
)
def test_a_name_of_the_database_is_found(name):
    assert zones.find(name).key == name
    assert zones.find(name) is zones.find(name)


@pytest.mark.parametrize(
    ("name", "reason", "suggestion"),
    [
        ("", "is empty", ""),
        ("europe/berlin", "not how the time zone database writes it", "Europe/Berlin"),
        ("EUROPE/BERLIN", "not how", "Europe/Berlin"),
        ("utc", "not how", "UTC"),
        (" Europe/Berlin", "not how", "Europe/Berlin"),
        ("Europe/Berlin\n", "not how", "Europe/Berlin"),
        ("america/new york", "not how", "America/New_York"),
        ("localtime", "names no place", ""),
        ("Factory", "names no place", ""),
        ("posixrules", "names no place", ""),
        ("posix/Europe/Paris", "not in the time zone database", ""),
        ("right/Europe/Paris", "not in the time zone database", ""),
        ("/usr/share/zoneinfo/Europe/Paris", "not in", ""),
        ("/etc/localtime", "not in", ""),
        ("Europe/../Europe/Paris", "not in", ""),
        ("../zoneinfo/Europe/Paris", "not in", ""),
        ("./Europe/Paris", "not in", ""),
        ("Europe//Paris", "not in", ""),
        ("Europe/Paris/", "not in", ""),
        ("Europe", "not in", ""),
        ("Europe/Atlantis", "not in", ""),
        ("CEST", "not in", ""),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "not in", ""),
        (":Europe/Paris", "not in", ""),
        ("tzdata.zi", "not in", ""),
        ("\x00", "not in", ""),
        ("Europe/Paris\x00", "not in", ""),
        ("\ud800", "not in", ""),
        ("Ευρώπη/Αθήνα", "not in", ""),
        ("x" * 65, "longer than 64", ""),
        ("x/" * 1_000_000, "longer than 64", ""),
        ("+02:00", "is an offset", "Etc/GMT-2"),
        ("UTC+2", "is an offset", "Etc/GMT-2"),
        ("GMT-05", "is an offset", "Etc/GMT+5"),
        ("-0500", "is an offset", "Etc/GMT+5"),
        ("+00:00", "is an offset", "UTC"),
        ("+15:00", "not in", ""),
        ("+05:45", "not in", ""),
    ],
)
def test_anything_else_is_refused_with_a_reason(database, name, reason, suggestion):
    with pytest.raises(UnknownZone, match=reason) as refused:
        zones.find(name)
    assert (refused.value.name, refused.value.suggestion) == (name, suggestion)
    assert suggestion in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300
    if suggestion:
        zones.find(suggestion)


def test_an_offset_is_told_the_zone_that_has_it():
    for hours in range(-12, 15):
        with pytest.raises(UnknownZone) as refused:
            zones.find(f"{hours:+03}:00")
        offset = datetime(2025, 1, 1, tzinfo=zones.find(refused.value.suggestion)).utcoffset()
        assert offset == timedelta(hours=hours)


@given(st.text() | st.from_regex(r"[A-Za-z./_+-]{0,30}"))
def test_no_text_is_a_defect(name):
    if name in zones.names():
        assert zones.find(name).key == name
    else:
        with pytest.raises(UnknownZone):
            zones.find(name)


def test_a_zone_that_an_update_takes_away_is_unknown(database):
    assert zones.find("Test/Town").key == "Test/Town"
    (database / "Test/Town").unlink()
    assert zones.find("Test/Town").key == "Test/Town", "what a process has read it keeps"
    zones.forget()
    with pytest.raises(UnknownZone, match="not in the time zone database"):
        zones.find("Test/Town")
    assert zones.find("Europe/Paris")


@pytest.mark.parametrize(
    "spoil", [Path.unlink, lambda path: path.write_bytes(b"TZif"), lambda path: path.write_bytes(b"")]
)
def test_a_zone_that_goes_after_the_names_were_read_is_unknown(database, spoil):
    assert "Test/Town" in zones.names()
    spoil(database / "Test/Town")
    with pytest.raises(UnknownZone, match="Test/Town has gone"):
        zones.find("Test/Town")


def test_a_zone_that_an_update_brings_is_known_after_forgetting(database):
    assert "Test/Village" not in zones.names()
    shutil.copy(database / "Test/Town", database / "Test/Village")
    with pytest.raises(UnknownZone):
        zones.find("Test/Village")
    zones.forget()
    assert zones.find("Test/Village").key == "Test/Village"
