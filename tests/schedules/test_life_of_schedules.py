"""The life of a schedule against a model: whatever happens when, each of its due times is told once.

Hypothesis moves the clock, ticks, pauses, resumes, edits, triggers and lets runs end, on the real database. A due time
counts if it comes while the schedule is active, by the cron that it has then.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from actions import ActionDefinition
from rest.errors import ApiError
from runs.models import Run
from schedules import firing, lifecycle
from schedules.due_times import first_due
from schedules.editing import Changes, edit
from schedules.models import Fire, FireKind, FireTotal, Schedule, ScheduleStatus
from tests.factories import Member
from tests.schedules.planned import MINUTE, NOON, again, finish, plan, runs_of

pytestmark = pytest.mark.django_db

SECONDS = st.sampled_from([0, 1, 29, 30, 59, 60, 61, 120, 121, 600, 3_600, 9_000])
CRONS = ["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "*/20 1,2,3 * * *"]
ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe"]
STEP = st.one_of(
    st.just(("tick",)),
    st.just(("tick",)),
    st.sampled_from([("pause",), ("resume",), ("trigger",), ("runs end",)]),
    st.tuples(st.just("edit"), st.fixed_dictionaries({"cron": st.sampled_from(CRONS)})),
    st.tuples(st.just("edit"), st.fixed_dictionaries({"timezone": st.sampled_from(ZONES)})),
    st.tuples(st.just("edit"), st.fixed_dictionaries({"catch_up": st.sampled_from(["one", "none", "all"])})),
    st.tuples(st.just("edit"), st.fixed_dictionaries({"overlap": st.sampled_from(["allow", "skip"])})),
)


class Life:
    """One schedule, the time it is, and its due times that have come while it was active."""

    def __init__(self, schedule: Schedule, now: datetime) -> None:
        self.schedule, self.now = schedule, now
        self.due: list[datetime] = []
        self.triggered = 0

    def let_pass(self, seconds: int) -> None:
        before, self.now = self.now, self.now + timedelta(seconds=seconds)
        schedule = again(self.schedule)
        if schedule.status == ScheduleStatus.ACTIVE:
            self.due += first_due(schedule.timing, before, self.now, 100_000)

    def do(self, what: str, *how: dict[str, str]) -> None:
        schedule = again(self.schedule)
        if what == "tick":
            self.tick()
        elif what == "pause":
            lifecycle.pause(schedule, now=self.now)
        elif what == "resume":
            lifecycle.resume(schedule, now=self.now)
        elif what == "runs end":
            finish(schedule)
        else:
            with suppress(ApiError), transaction.atomic():
                if what == "edit":
                    edit(schedule, Changes(how[0]), now=self.now)
                else:
                    firing.trigger(schedule, by=schedule.user, now=self.now)
                    self.triggered += 1

    def tick(self) -> None:
        while firing.tick(now=self.now, step_s=60):
            pass

    def check(self) -> None:
        fires = list(Fire.objects.filter(schedule=self.schedule, due_at__isnull=False).order_by("due_at"))
        told = 0
        for fire in fires:
            told += fire.count
            assert fire.due_at == self.due[told - 1], f"the last of {fire.count} due times"
        schedule = again(self.schedule)
        pending = self.due[told:]
        assert (schedule.next_execution_at == pending[0]) if pending else not firing.tick(now=self.now)
        fired = [fire for fire in fires if fire.kind == FireKind.FIRED]
        assert schedule.missed_count == told - len(fired)
        launched = {fire.run_uid for fire in Fire.objects.filter(schedule=self.schedule, run_uid__isnull=False)}
        assert launched == {run.uid for run in runs_of(schedule)}
        assert len(launched) == len(fired) + self.triggered
        totals = dict(FireTotal.objects.values_list("kind", "count"))
        assert totals.pop(FireKind.TRIGGERED, 0) == self.triggered
        assert (totals.pop(FireKind.FIRED, 0), sum(totals.values())) == (len(fired), schedule.missed_count)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([NOON, NOON + timedelta(days=72, hours=12), NOON + timedelta(days=78)]),
    cron=st.sampled_from(CRONS),
    steps=st.lists(st.tuples(SECONDS, STEP), min_size=3, max_size=20),
)
@example(start=NOON, cron=CRONS[0], steps=[(60, ("pause",)), (61, ("resume",)), (0, ("tick",)), (59, ("tick",))])
@example(start=NOON, cron=CRONS[0], steps=[(60, ("tick",)), (0, ("edit", {"cron": CRONS[1]})), (0, ("tick",))])
def test_each_due_time_is_told_once(
    acme: Member,
    double: ActionDefinition,
    start: datetime,
    cron: str,
    steps: list[tuple[int, tuple[str, ...]]],
) -> None:
    with transaction.atomic():
        schedule = plan(by=acme, cron=cron, values=[{"n": 1}])
        (first,) = first_due(schedule.timing, start, start + timedelta(days=2), 1)
        Schedule.objects.update(next_execution_at=first)
        life = Life(schedule, start)
        for seconds, step in steps:
            life.let_pass(seconds)
            life.do(*step)  # type: ignore[arg-type]
            life.check()
        lifecycle.resume(again(schedule), now=life.now)
        life.let_pass(int(MINUTE.total_seconds()) * 61)
        life.tick()
        life.check()
        assert sum(Fire.objects.exclude(due_at=None).values_list("count", flat=True)) == len(life.due)
        assert Run.objects.count() == len(runs_of(schedule))
        transaction.set_rollback(True)
