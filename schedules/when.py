"""When a schedule is asked to fire: checked field by field, then as a whole (contract section 1, schedule)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from rest.errors import BadInput
from rest.json import rfc3339
from schedules import cron, cron_times, zones
from schedules.cron import BadCron
from schedules.due_times import Timing, next_due
from schedules.models import CatchUp, Overlap, Schedule
from schedules.zones import UnknownZone

# Earlier, a zone's offset may be no whole minutes, which RFC 3339 cannot write; later, nothing is due.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), cron_times.LAST
TIMES = ("cron", "timezone", "schedule_at", "starts_at", "ends_at")
RULES = ("overlap", "catch_up")


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """When to fire, its shape checked (`schedules.serializers`), and what to do with due times that get in the way."""

    cron: str | None = None
    timezone: str = "UTC"
    schedule_at: datetime | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    overlap: str = Overlap.ALLOW
    catch_up: str = CatchUp.ONE

    @property
    def timing(self) -> Timing:
        return Timing(self.cron, self.timezone, self.schedule_at, self.starts_at, self.ends_at)


def of(schedule: Schedule) -> When:
    """Return when a schedule that is stored fires."""
    fields = {name: getattr(schedule, name) for name in (*TIMES, *RULES)}
    return When(**{**fields, "cron": schedule.cron or None})


def check(when: When, *, now: datetime, changed: Collection[str] = TIMES) -> datetime:
    """Return the first due time after `now`.

    `changed` are the fields that are new: what was right when it was made may have passed since.

    Raises:
        BadInput: a field is not what it may be, two exclude each other, or the schedule would never fire.
    """
    if when.cron is None and when.schedule_at is None:
        raise _refusal("cron", "this or schedule_at is required: when is the schedule to fire?")
    _check_zone(when.timezone)
    if when.cron is not None:
        _check_cron(when.cron)
    for name in ("schedule_at", "starts_at"):
        _check_range(name, getattr(when, name))
    if when.schedule_at and "schedule_at" in changed and when.schedule_at <= now:
        raise _refusal("schedule_at", f"a time in the future is required; {rfc3339(when.schedule_at)} has passed.")
    _check_window(when, now)
    check_rules(when)
    first = next_due(when.timing, now)
    if first is None:
        raise _never(when, now)
    return first


def check_rules(when: When) -> None:
    """Raise `BadInput` where `overlap` and `catch_up` exclude each other."""
    if when.catch_up == CatchUp.ALL and when.overlap == Overlap.SKIP:
        raise _refusal("catch_up", "all goes with overlap allow only: runs that are caught up all at once overlap.")


def _check_zone(name: str) -> None:
    try:
        zones.find(name)
    except UnknownZone as error:
        raise BadInput(f"timezone: {error}", {"field": "timezone", "suggestion": error.suggestion or None}) from None


def _check_cron(text: str) -> None:
    try:
        cron.read(text)
    except BadCron as error:
        params = {"field": "cron", "part": error.field or None, "allowed": error.allowed or None}
        raise BadInput(f"cron: {error}", params) from None


def _check_range(name: str, moment: datetime | None) -> None:
    if moment and not EARLIEST <= moment <= LATEST:
        raise _refusal(name, f"a time from {rfc3339(EARLIEST)} to {rfc3339(LATEST)} is required.")


def _check_window(when: When, now: datetime) -> None:
    if when.starts_at and when.ends_at and when.ends_at <= when.starts_at:
        raise _refusal("ends_at", f"a time later than starts_at, {rfc3339(when.starts_at)}, is required.")
    if when.schedule_at is None or when.schedule_at <= now:
        return
    if when.starts_at and when.schedule_at < when.starts_at:
        raise _refusal("schedule_at", f"nothing fires before starts_at, {rfc3339(when.starts_at)}.")
    if when.ends_at and when.schedule_at > when.ends_at:
        raise _refusal("schedule_at", f"nothing fires after ends_at, {rfc3339(when.ends_at)}.")


def _never(when: When, now: datetime) -> BadInput:
    """Return the error for a schedule that has no due time after `now`, naming the field that keeps it from one."""
    if when.ends_at is not None:
        if when.ends_at <= now:
            return _refusal("ends_at", f"a time in the future is required; {rfc3339(when.ends_at)} has passed.")
        return _refusal("ends_at", f"the schedule would never fire: nothing is due until {rfc3339(when.ends_at)}.")
    if when.cron is None:
        return _refusal("schedule_at", "the schedule would never fire again: it has passed, and there is no cron.")
    return _refusal("starts_at" if when.starts_at else "cron", "the schedule would never fire.")


def _refusal(field: str, reason: str) -> BadInput:
    return BadInput(f"{field}: {reason}", {"field": field})
