"""When a schedule will fire, told in advance by the function that fires it (contract section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rest.errors import Conflict
from rest.json import rfc3339
from rest.operations import TIME, Parameter, text, whole_number
from rest.query import BadValue, Query, bad_parameter, time_value
from schedules import cron, due_times, zones
from schedules.clock import database_time
from schedules.cron import BadCron
from schedules.due_times import PreviewRow, Timing
from schedules.lifecycle import ENDED
from schedules.models import Schedule
from schedules.when import EARLIEST, LATEST
from schedules.zones import UnknownZone

DEFAULT_COUNT, MAX_COUNT = 10, 100
PARAMETERS = {
    "count": whole_number("How many due times.", minimum=1, maximum=MAX_COUNT, default=DEFAULT_COUNT),
    "from": Parameter(TIME, "After which time; now by default."),
}
TIMING_PARAMETERS = {
    "cron": Parameter({"type": "string"}, "Five fields, such as `0 9 * * MON-FRI`, or `@daily`.", required=True),
    "timezone": text("The name of a time zone.", default="UTC"),
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which due times to tell: the first `count` later than `after`."""

    after: datetime
    count: int


def read_stretch(query: Query) -> Stretch:
    """Read `count` and `from`.

    Raises:
        BadParameters: one of them is not what it may be.
    """
    count = query.integer("count", minimum=1, maximum=MAX_COUNT) or DEFAULT_COUNT
    text = query.scalar("from")
    if text is None:
        return Stretch(database_time(), count)
    try:
        after = time_value(text)
    except BadValue as error:
        raise bad_parameter("from", error.reason, error.allowed) from None
    if not EARLIEST <= after <= LATEST:
        allowed = {"minimum": rfc3339(EARLIEST), "maximum": rfc3339(LATEST)}
        raise bad_parameter("from", f"a time from {rfc3339(EARLIEST)} to {rfc3339(LATEST)} is required.", allowed)
    return Stretch(after, count)


def read_timing(query: Query) -> Timing:
    """Read `cron` and `timezone`.

    Raises:
        BadParameters: one of them is not what it may be, or there is no `cron`.
    """
    text = query.scalar("cron")
    if text is None:
        raise bad_parameter("cron", "a cron expression is required.", "five fields, such as 0 9 * * MON-FRI")
    zone = query.scalar("timezone")
    zone = "UTC" if zone is None else zone
    try:
        cron.read(text)
        zones.find(zone)
    except BadCron as error:
        raise bad_parameter("cron", str(error), error.allowed or "a cron expression") from None
    except UnknownZone as error:
        raise bad_parameter("timezone", str(error), error.suggestion or "a name of the time zone database") from None
    return Timing(text, zone)


def of_timing(timing: Timing, stretch: Stretch) -> list[PreviewRow]:
    """Return the due times of a timing."""
    return due_times.preview(timing, stretch.after, stretch.count)


def of_schedule(schedule: Schedule, stretch: Stretch) -> list[PreviewRow]:
    """Return when a schedule will fire; of a paused one, when it would if it were resumed. None once it has ended.

    Raises:
        Conflict: its time zone is none any more.
    """
    if schedule.status in ENDED:
        return []
    try:
        return of_timing(schedule.timing, stretch)
    except UnknownZone as error:
        raise Conflict(f"timezone: {error}", {"status": schedule.status, "field": "timezone"}) from None
