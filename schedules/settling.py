"""Settling schedules that are claimed: what becomes of each due time, the runs that it launches, and what is next.

In the transaction that claimed them, and for many at once: no statement here is one schedule's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from actions import registry
from rest.errors import stored_error
from rest.json import dumps, rfc3339
from runs import quotas, scheduled
from runs.lifecycle import By
from runs.models import TERMINAL, Actor, Run, RunStatus
from runs.quotas import Rooms
from runs.scheduled import ScheduledCallback, ScheduledLaunch
from schedules import lifecycle, missed, totals
from schedules.cron import BadCron
from schedules.due_times import next_due
from schedules.missed import DueTimes, Line
from schedules.models import Fire, FireKind, Overlap, Schedule
from schedules.zones import UnknownZone
from statements.insertion import copy

ROWS_IN_ALL = 5_000  # runs and batches of one transaction, which holds its workspaces' turns while they are stored


@dataclass(slots=True)
class Claim:
    """A claimed schedule with what becomes of its due times: `lines`, and when it is due next."""

    schedule: Schedule
    lines: list[Line]
    next_at: datetime | None
    unknown: dict[str, Any] | None = None  # why it cannot be known when it is due next
    error: dict[str, Any] | None = None
    fires: list[Fire] = field(default_factory=list)
    launches: list[ScheduledLaunch] = field(default_factory=list)
    run: Run | None = None  # the last

    @property
    def missed_count(self) -> int:
        """How many due times launched no run of their own."""
        return sum(fire.count - (fire.kind == FireKind.FIRED) for fire in self.fires)


def settle(schedules: Sequence[Schedule], *, now: datetime) -> list[Claim]:
    """Settle the due times of locked schedules up to `now`, as far as one transaction should. Returns what it settled.

    Schedules that it does not get to are left as they are, and so are due times: they are due still.
    """
    claims = _claims(schedules, now=now)
    _decide(claims, now=now)
    _store(claims, now=now)
    _write(claims, now=now)
    return claims


# --- When they were due


def _claims(schedules: Sequence[Schedule], *, now: datetime) -> list[Claim]:
    taken = _taken(schedules)
    claims: list[Claim] = []
    rows = 0
    for schedule in schedules:
        if claims and rows >= ROWS_IN_ALL:
            break
        due, unknown = _due_times(schedule, is_taken=schedule.pk in taken, now=now)
        rows_of_run = 1 + -(-schedule.input_set.input_count // schedule.batch_size)
        runs_at_most = max(1, (ROWS_IN_ALL - rows) // rows_of_run)
        lines, next_at = missed.settle(due, catch_up=schedule.catch_up, now=now, runs_at_most=runs_at_most)
        rows += rows_of_run * sum(line.kind == FireKind.FIRED for line in lines)
        claims.append(Claim(schedule, lines, next_at, unknown))
    return claims


def _due_times(schedule: Schedule, *, is_taken: bool, now: datetime) -> tuple[DueTimes, dict[str, Any] | None]:
    """Return the due times up to `now`, and why it cannot be known what follows, if it cannot."""
    first = schedule.next_execution_at
    assert first is not None
    try:
        if is_taken:  # an edit by a clock that was behind brought it back
            following = next_due(schedule.timing, first)
            if following is None or following > now:
                return DueTimes(first, 0, [], [], following), None
            first = following
        return missed.find(schedule.timing, first, catch_up=schedule.catch_up, now=now), None
    except UnknownZone as error:
        unknown = stored_error("BAD_INPUT", f"timezone: {error}", scope="input", params={"field": "timezone"})
    except BadCron as error:
        unknown = stored_error("BAD_INPUT", f"cron: {error}", scope="input", params={"field": "cron"})
    # What was worked out while it was known is due all the same.
    return DueTimes(first, 0, [], [], None) if is_taken else missed.only(first, now=now), unknown


_TAKEN = """
SELECT schedule.id
  FROM unnest(%(schedules)s::bigint[], %(due_at)s::timestamptz[]) AS schedule (id, due_at)
       JOIN schedules_fire AS fire ON fire.schedule_id = schedule.id AND fire.due_at = schedule.due_at
"""


def _taken(schedules: Sequence[Schedule]) -> set[int]:
    """Return those whose due time has a line already."""
    due_at = [schedule.next_execution_at for schedule in schedules]
    with connection.cursor() as cursor:
        cursor.execute(_TAKEN, {"schedules": [schedule.pk for schedule in schedules], "due_at": due_at})
        return {row[0] for row in cursor.fetchall()}


# --- What becomes of it


@dataclass(frozen=True, slots=True)
class _LastRun:
    status: RunStatus
    was_started: bool

    @property
    def is_unfinished(self) -> bool:
        """Whether it may go on by itself: a stopped one does not."""
        return self.status not in TERMINAL and self.status != RunStatus.STOPPED


def _decide(claims: Sequence[Claim], *, now: datetime) -> None:
    """Give each claim its fires and launches; a line that asks for a run becomes SKIPPED where there can be none."""
    last_runs = _last_runs(claim.schedule for claim in claims)
    rooms = quotas.rooms({claim.schedule.workspace_id for claim in claims})
    for claim in claims:
        for line in claim.lines:
            kind, reason = line.kind, line.reason
            if kind == FireKind.FIRED:
                why = _why_skipped(claim, last_runs, rooms[claim.schedule.workspace_id])
                if why:
                    kind, reason = FireKind.SKIPPED, why
                else:
                    claim.launches.append(_launch(claim.schedule, line))
            claim.fires.append(
                Fire(
                    schedule=claim.schedule,
                    kind=kind,
                    due_at=line.due_at,
                    at=now,
                    count=line.count,
                    reason=reason[:500],
                )
            )


def _why_skipped(claim: Claim, last_runs: dict[UUID, _LastRun], room: Rooms) -> str:
    """Return why no run is launched, with the error that the schedule keeps if it is one; nothing where one is."""
    schedule = claim.schedule
    last = last_runs.get(schedule.last_run_uid) if schedule.last_run_uid else None
    if schedule.overlap == Overlap.SKIP and (claim.launches or (last and last.is_unfinished)):
        return "the last run is unfinished; overlap is skip"
    if registry.get(schedule.action.name) is None and (
        claim.launches or (last and last.is_unfinished and not last.was_started)
    ):
        message = f"No worker has begun the last run: the code of the action '{schedule.action.name}' is missing."
        claim.error = stored_error("NOT_FOUND", message, scope="action", params={"action_name": schedule.action.name})
        return message
    refusal = room.take()
    if refusal:
        claim.error = stored_error(refusal.label, refusal.message, scope=refusal.error_scope, params=refusal.params)
        return refusal.message
    return ""


def is_last_unfinished(schedule: Schedule) -> bool:
    """Return whether the last run of a schedule may still go on by itself."""
    last = _last_runs([schedule]).get(schedule.last_run_uid) if schedule.last_run_uid else None
    return last is not None and last.is_unfinished


def _last_runs(schedules: Iterable[Schedule]) -> dict[UUID, _LastRun]:
    """Return how the last runs stand of schedules to which it matters."""
    wanted = [
        schedule.last_run_uid
        for schedule in schedules
        if schedule.last_run_uid and (schedule.overlap == Overlap.SKIP or registry.get(schedule.action.name) is None)
    ]
    if not wanted:
        return {}
    rows = Run.objects.filter(uid__in=wanted).values_list("uid", "status", "started_at")
    return {uid: _LastRun(RunStatus(status), started_at is not None) for uid, status, started_at in rows}


def _launch(schedule: Schedule, line: Line) -> ScheduledLaunch:
    reason = f"fired for {rfc3339(line.due_at)}"
    if line.reason:
        reason = f"{reason}: {line.reason}"
    return launch_of(schedule, by=By(Actor.SCHEDULE, schedule.uid), user_id=schedule.user_id, reason=reason)


def launch_of(schedule: Schedule, *, by: By, user_id: int, reason: str) -> ScheduledLaunch:
    """Return the launch of one run of a schedule."""
    callback = None
    if schedule.destination:
        callback = ScheduledCallback(schedule.destination, on=schedule.callback_on, per=schedule.callback_per)
    return ScheduledLaunch(
        schedule_uid=schedule.uid,
        name=schedule.name,
        workspace_id=schedule.workspace_id,
        user_id=user_id,
        action=schedule.action,
        parameters=schedule.parameters,
        identity_ids=schedule.identity_ids,
        identity_mode=schedule.identity_mode,
        tags=schedule.tags,
        input_set=schedule.input_set,
        batch_size=schedule.batch_size,
        callback=callback,
        by=by,
        reason=reason,
    )


# --- Writing it down


def _store(claims: Sequence[Claim], *, now: datetime) -> None:
    """Store the runs, and name each in the line that it was launched for."""
    fired = [(claim, fire) for claim in claims for fire in claim.fires if fire.kind == FireKind.FIRED]
    if not fired:
        return
    runs = scheduled.store([launch for claim in claims for launch in claim.launches], now=now)
    for (claim, fire), run in zip(fired, runs, strict=True):
        fire.run_uid = run.uid
        claim.run = run
        if run.status == RunStatus.INVALID:
            claim.error = run.last_error


_ADVANCE = """
UPDATE schedules_schedule AS schedule
   SET next_execution_at = claim.next_at,
       last_execution_at = CASE WHEN claim.run_uid IS NULL THEN schedule.last_execution_at ELSE %(now)s END,
       last_run_uid = COALESCE(claim.run_uid, schedule.last_run_uid),
       missed_count = schedule.missed_count + claim.missed_count,
       last_error = CASE WHEN claim.run_uid IS NULL AND claim.error IS NULL THEN schedule.last_error
                         ELSE claim.error::json END
  FROM unnest(%(schedules)s::bigint[], %(next_at)s::timestamptz[], %(run_uids)s::uuid[], %(missed_counts)s::bigint[],
              %(errors)s::text[]) AS claim (id, next_at, run_uid, missed_count, error)
 WHERE schedule.id = claim.id
"""


def _write(claims: Sequence[Claim], *, now: datetime) -> None:
    """Write the lines, and move each schedule on to its next due time, or to where it ends."""
    fires = [fire for claim in claims for fire in claim.fires]
    copy(fires)
    names: dict[str, Any] = {
        "now": now,
        "schedules": [claim.schedule.pk for claim in claims],
        "next_at": [claim.next_at for claim in claims],
        "run_uids": [claim.run and claim.run.uid for claim in claims],
        "missed_counts": [claim.missed_count for claim in claims],
        "errors": [claim.error and dumps(claim.error).decode() for claim in claims],
    }
    with connection.cursor() as cursor:
        cursor.execute(_ADVANCE, names)
    ended = [claim for claim in claims if claim.next_at is None]
    if over := [claim.schedule.pk for claim in ended if not claim.unknown]:
        lifecycle.complete(over, now=now)
    for claim in ended:
        if claim.unknown:
            lifecycle.pause_because(claim.schedule.pk, claim.unknown, now=now)
    totals.add(fires)
