"""The guide to schedules is true: its table of nights, its pictures, its fields and its examples, against the code."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise, takewhile
from typing import Any

import pytest

from actions import action, registry
from config import metrics
from runs.models import Run, RunStatus
from schedules import firing
from schedules.clock_changes import changes
from schedules.due_times import Timing, due_times
from schedules.filters import ScheduleFilters
from schedules.models import Fire, FireKind, Schedule
from schedules.serializers import ScheduleBody, ScheduleChangesBody
from schedules.views import ScheduleList
from schedules.zones import find
from tests.docs import markdown
from tests.factories import Api, Number, member
from tests.schedules.planned import plan

TEXT = (markdown.PROJECT / "docs" / "schedules.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
NAMES = re.compile(r"`([a-z_]+)`")
EIGHT = datetime(2026, 1, 15, 8, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
NIGHT_ENDS = 4


def rows(section: str) -> list[list[str]]:
    """Return the rows of a section's table, an empty cell filled with what stands above it."""
    found: list[list[str]] = []
    for line in SECTIONS[section].splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            above = found[-1] if found else cells
            found.append([cell or upper for cell, upper in zip(cells, above, strict=True)])
    return found[2:]


def picture(section: str) -> dict[str, list[str]]:
    """Return the lines of a section's picture: name, and what stands under each due time."""
    (block,) = (one.text for one in markdown.blocks(SECTIONS[section]) if one.text.startswith("due "))
    lines = [line.split() for line in block.splitlines()]
    return {line[0]: line[1:] for line in lines if line[0] != "run" or line[1] != "of"}


# --- Nights ---------------------------------------------------------------------------------------------------

NIGHTS = rows("Time zones, and the two nights")


@pytest.mark.parametrize("row", NIGHTS, ids=lambda row: f"{row[0]} {row[2]}")
def test_what_is_due_in_a_night(row: list[str]) -> None:
    night, clock, cron, due = row
    name, date = night.split()
    zone = find(name)
    start = datetime.combine(datetime.fromisoformat(date), time(), zone)
    end = datetime.combine(start.date(), time(NIGHT_ENDS), zone)
    (change,) = changes(zone, start.astimezone(UTC), end.astimezone(UTC))
    assert clock == f"{change.closing:%H:%M} becomes {change.opening:%H:%M}"
    times = due_times(Timing(cron.strip("`"), name), start - timedelta(microseconds=1))
    found = [at.astimezone(zone).isoformat(timespec="minutes")[11:] for at in takewhile(lambda at: at < end, times)]
    assert due == (", ".join(found) or "none")


def test_each_zone_has_a_night_of_each_kind() -> None:
    assert {row[0].split()[0] for row in NIGHTS} == {
        "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca",
    }  # fmt: skip
    assert len({(row[0].split()[0], row[1].split()[0] < row[1].split()[2]) for row in NIGHTS}) == 8


# --- Pictures -------------------------------------------------------------------------------------------------


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @action("double")
    def double(input: Number) -> int:
        return input.n * 2


def due_of(header: list[str]) -> list[datetime]:
    found = [EIGHT.replace(hour=int(text[:2]), minute=int(text[3:])) for text in header]
    assert all(later - earlier == MINUTE for earlier, later in pairwise(found))
    return found


def launched(schedule: Schedule) -> dict[datetime, datetime]:
    """Return when a run was launched for which due time."""
    fired = Fire.objects.filter(schedule=schedule, kind=FireKind.FIRED)
    return {fire.due_at: fire.at for fire in fired if fire.due_at}


@pytest.mark.django_db
@pytest.mark.parametrize("overlap", ["allow", "skip"])
def test_the_picture_of_overlap(double: None, overlap: str) -> None:
    shown = picture("When the last run is unfinished")
    schedule = plan(by=member(), next_execution_at=EIGHT, overlap=overlap)
    for due in due_of(shown["due"]):
        now = due + SECOND
        Run.objects.filter(created_at__lte=now - 2.5 * MINUTE).update(status=RunStatus.SUCCEEDED)
        firing.tick(now=now)
    expected = [due for due, what in zip(due_of(shown["due"]), shown[overlap], strict=True) if what == "run"]
    assert sorted(launched(schedule)) == expected
    schedule.refresh_from_db()
    assert schedule.missed_count == shown[overlap].count(".")


@pytest.mark.django_db
@pytest.mark.parametrize("catch_up", ["one", "none", "all"])
def test_the_picture_of_catching_up(double: None, catch_up: str) -> None:
    shown = picture("When the system was down")
    schedule = plan(by=member(), next_execution_at=EIGHT, catch_up=catch_up)
    back = EIGHT + 5.5 * MINUTE
    for now in (EIGHT + SECOND, back, EIGHT + 6 * MINUTE + SECOND):
        firing.tick(now=now)
    at = launched(schedule)
    for due, what in zip(due_of(shown["due"]), shown[catch_up], strict=True):
        assert (what != ".") == (due in at), due
        if what != ".":
            assert (at[due] == back) == (what == "RUN" or due == EIGHT + 5 * MINUTE)
    schedule.refresh_from_db()
    assert schedule.missed_count == {"one": 3, "none": 4, "all": 0}[catch_up]
    assert max(Fire.objects.values_list("count", flat=True)) == {"one": 4, "none": 4, "all": 1}[catch_up]


# --- Names and examples ---------------------------------------------------------------------------------------


def test_every_field_is_named() -> None:
    assert set(ScheduleBody.model_fields) <= set(NAMES.findall(SECTIONS["Making one"]))
    assert set(ScheduleChangesBody.model_fields) <= set(NAMES.findall(SECTIONS["Changing it"]))
    assert set(ScheduleFilters.parameters()) | set(ScheduleList.sort_fields) <= set(
        NAMES.findall(SECTIONS["What became of it"])
    )
    assert set(FireKind.values) <= set(re.findall(r"\b[A-Z]+\b", SECTIONS["What became of it"]))


@pytest.mark.django_db
def test_every_metric_is_named() -> None:
    told = set(re.findall(r"`(runyard_schedule_\w+)`", SECTIONS["Operating it"]))
    assert {name.removesuffix("_total") for name in told} == {
        family.name for family in metrics.registry.collect() if family.name.startswith("runyard_schedule_")
    }


@pytest.mark.django_db
def test_the_examples_work() -> None:
    api = Api(member().key)
    (made, preview) = (markdown.blocks(SECTIONS[name]) for name in ("Making one", "Seeing it in advance"))
    body = made[0].text.partition("-d '")[2].rstrip().removesuffix("'")
    answer = api.post("/v1/actions/inspect-url/run/schedule", json.loads(body))
    assert answer.status_code == 201
    shown = json.loads(made[1].text)
    assert list(shown) == list(answer.json())
    assert {name: value for name, value in shown.items() if value != "..."} == {
        name: value for name, value in answer.json().items() if shown[name] != "..."
    }
    (path,) = re.findall(r'"\$API(/\S+)"', preview[0].text)
    assert api.get(f"/v1{path}").json() == json.loads(preview[1].text)
    change = markdown.blocks(SECTIONS["Changing it"])[0].text.partition("-d '")[2].rstrip().removesuffix("'")
    changed: Any = api.client.patch(
        answer.headers["Location"], data=json.dumps(json.loads(change)), content_type="application/json"
    )
    assert (changed.status_code, changed.json()["cron"]) == (200, "0 9 * * MON-FRI")
