"""A few figures over all runs: they count what there is, of the workspaces asked for, reading no more than they say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from actions import ActionError
from actions.models import Action
from runs import overview, recovery
from runs.models import ResultChunk, Run, RunStatus
from runs.overview import Outcome, Queue, Trouble
from tests.factories import Member, define, launch, numbers, work

pytestmark = pytest.mark.django_db


def refuse_odd(n: int) -> int:
    if n % 2:
        raise ActionError("ODD", "An odd number.")
    return n


def test_what_is_in_line(acme: Member, other: Member, double: Any) -> None:
    launch("double", numbers(3), by=acme)
    launch("double", numbers(4), by=acme)
    launch("double", numbers(5), by=other)
    assert overview.queues(None) == [Queue("double", RunStatus.QUEUED, 3, 12)]
    assert overview.queues([other.workspace.pk]) == [Queue("double", RunStatus.QUEUED, 1, 5)]
    assert overview.queues([]) == []
    work()
    assert overview.queues(None) == []


def test_what_failed_and_why(acme: Member, other: Member) -> None:
    define("process", refuse_odd)
    launch("act", [{"n": 1}], by=acme)
    launch("act", [{"n": 3}], by=other)
    launch("act", [{"n": 2}], by=acme)
    work()
    now = timezone.now()
    [trouble] = overview.failed(None, since=now - timedelta(hours=1))
    assert (trouble.action_name, trouble.runs) == ("act", 2)
    assert trouble.message
    assert overview.failed([acme.workspace.pk], since=now - timedelta(hours=1))[0].runs == 1
    assert overview.failed(None, since=now + timedelta(seconds=1)) == []


def test_what_is_blocked_and_why(acme: Member, double: Any) -> None:
    launch("double", numbers(1), by=acme)
    Action.objects.filter(name="double").update(paused=True)
    recovery.sweep()
    [trouble] = overview.blocked(None)
    assert (trouble.action_name, trouble.label, trouble.runs) == ("double", "ACTION_PAUSED", 1)
    assert overview.blocked([]) == []


def test_how_runs_ended_within_the_hour_and_the_day(acme: Member) -> None:
    define("process", refuse_odd)
    recent = launch("act", numbers(2), by=acme)
    for _ in range(2):
        launch("act", [{"n": 2}], by=acme)
    work()
    now = timezone.now()
    Run.objects.exclude(pk=recent.pk).update(finished_at=now - timedelta(hours=2))
    found = {one.status: one for one in overview.outcomes(None, now=now)}
    assert found[RunStatus.PARTIAL_SUCCEEDED] == Outcome(RunStatus.PARTIAL_SUCCEEDED, 1, 1)
    assert found[RunStatus.SUCCEEDED] == Outcome(RunStatus.SUCCEEDED, 0, 2)
    assert found[RunStatus.FAILED] == Outcome(RunStatus.FAILED, 0, 0)
    assert all(one.day == 0 for one in overview.outcomes([], now=now))


def test_inputs_by_interval(acme: Member, other: Member) -> None:
    define("process", refuse_odd)
    launch("act", numbers(5), by=acme)
    launch("act", numbers(4), by=other)
    work()
    until = timezone.now().replace(microsecond=0) + timedelta(seconds=1)
    minute = timedelta(minutes=1)
    ResultChunk.objects.filter(run__workspace=other.workspace).update(created_at=until - 2.5 * minute)
    ResultChunk.objects.filter(run__workspace=acme.workspace).update(created_at=until - minute)  # the first of its own
    before, between, last = overview.recorded(None, until=until, step=minute, steps=3)
    assert before.begin == until - 3 * minute
    assert [(one.succeeded, one.failed) for one in (before, between, last)] == [(2, 2), (0, 0), (3, 2)]
    own = overview.recorded([acme.workspace.pk], until=until, step=minute, steps=3)
    assert [(one.succeeded, one.failed) for one in own] == [(0, 0), (0, 0), (3, 2)]


def test_recent_results_are_counted_on_their_index_alone(acme: Member, double: Any) -> None:
    launch("double", numbers(3), by=acme)
    work()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        values = {"since": timezone.now(), "step": timedelta(minutes=1), "limit": 9, "workspaces": None}
        cursor.execute(f"EXPLAIN {overview._RECORDED_IN_ALL}", values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Only Scan Backward using result_chunk_recent" in plan, plan


def test_no_more_is_read_than_said(acme: Member, double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        launch("double", numbers(1), by=acme)
    monkeypatch.setattr(overview, "READ_AT_MOST", 2)
    assert overview.queues(None)[0].runs == 2
    work()
    assert sum(one.day for one in overview.outcomes(None, now=timezone.now())) == 2
    assert (
        sum(
            one.succeeded
            for one in overview.recorded(
                None, until=timezone.now() + timedelta(seconds=1), step=timedelta(hours=1), steps=2
            )
        )
        == 2
    )


def test_troubles_are_few(acme: Member, double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "GROUPS_AT_MOST", 2)
    for number in range(3):
        made = launch("double", numbers(1), by=acme)
        error = {"label": f"L{number}", "message": "m"}
        Run.objects.filter(pk=made.pk).update(status=RunStatus.FAILED, last_error=error, finished_at=timezone.now())
    found = overview.failed(None, since=timezone.now() - timedelta(hours=1))
    assert found == [Trouble("double", "L0", "m", 1), Trouble("double", "L1", "m", 1)]
