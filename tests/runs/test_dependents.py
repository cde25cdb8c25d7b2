"""Many runs that wait for others: chains of them, and what they cost."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from runs import deletion, dependencies, lifecycle, recovery
from runs.models import Run, RunStatus
from tests.factories import Member, launch, numbers, reread, work
from tests.runs.dependency_checks import (
    S,
    assert_invalid,
    assert_queued,
    assert_quiet,
    assert_waits,
    end,
    error_of,
    first,
    stuck_at,
    sweep,
    then,
)
from tests.runs.steps import cancel, resume

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("double", "awaited_action", "unhurried_sweep")]


# --- Chains ---------------------------------------------------------------------------------------------------


def chain(by: Member, length: int) -> list[Run]:
    runs = [first(by)]
    for _ in range(length - 1):
        runs.append(launch("double", [*numbers(2), {}], by=by, depends_on=[runs[-1].uid]))
    return runs


def look_at_all() -> int:
    return recovery.look_at_dependents(now=timezone.now(), step_s=60.0)


def test_a_chain_is_told_in_one_go(acme: Member) -> None:
    runs = chain(acme, 16)
    look_at_all()
    end(runs[0], S.FAILED)
    assert look_at_all() == 15
    assert error_of(runs[1]) == stuck_at(runs[0], S.FAILED)
    for before, run in pairwise(runs[1:]):
        assert_waits(run, before, error=stuck_at(before, S.BLOCKED))
    resume(runs[0], acme)
    look_at_all()
    for before, run in pairwise(runs):
        assert_waits(run, before)
    cancel(runs[6], acme)
    look_at_all()
    assert error_of(runs[6]) is None
    assert error_of(runs[7]) == stuck_at(runs[6], S.STOPPED)
    assert error_of(runs[15]) == stuck_at(runs[14], S.BLOCKED)
    deletion.delete(runs[6])
    look_at_all()
    assert [reread(run).status for run in runs[1:6]] == [S.BLOCKED] * 5
    assert_invalid(runs[7], stuck_at(runs[6], None))
    for before, run in pairwise(runs[7:]):
        assert_invalid(run, stuck_at(before, S.INVALID))
    assert_quiet()


def test_a_chain_runs_in_its_order(acme: Member) -> None:
    runs = chain(acme, 8)
    for _ in runs:
        work()
        sweep()
    assert [reread(run).status for run in runs] == [S.SUCCEEDED, *[S.PARTIAL_SUCCEEDED] * 7]
    ends = [reread(run).finished_at for run in runs]
    starts = [reread(run).started_at for run in runs]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_a_failure_that_is_over_before_anybody_looked(acme: Member) -> None:
    """The second still shows the first's error when the first is queued: it is told of that as well."""
    runs = chain(acme, 3)
    end(runs[0], S.FAILED)
    sweep()
    resume(runs[0], acme)
    end(runs[0])
    sweep()
    assert_queued(runs[1])
    assert_waits(runs[2], runs[1])


def test_launched_behind_one_that_is_stuck(acme: Member) -> None:
    runs = chain(acme, 2)
    end(runs[0], S.FAILED)
    sweep()
    third = then(acme, runs[1])
    assert_waits(third, runs[1], error=stuck_at(runs[1], S.BLOCKED))


def test_a_diamond(acme: Member) -> None:
    top = first(acme)
    left, right = then(acme, top), then(acme, top)
    bottom = then(acme, left, right)
    sweep()
    end(top, S.FAILED)
    sweep()
    assert_waits(bottom, left, right, error=stuck_at(left, S.BLOCKED))
    resume(top, acme)
    end(top)
    sweep()
    assert_waits(bottom, left, right)
    work()
    assert reread(bottom).status == S.BLOCKED
    sweep()
    assert_queued(bottom)
    work()
    assert {reread(run).status for run in (left, right, bottom)} == {S.PARTIAL_SUCCEEDED}


# --- What it costs --------------------------------------------------------------------------------------------

MANY = """
INSERT INTO runs_dependency (run_id, depends_on_uid, is_due, is_met)
SELECT run.id, %s, false, false FROM runs_run AS run
 WHERE NOT EXISTS (SELECT FROM runs_dependency WHERE run_id = run.id)
"""


def many_waiting(run: Run, count: int) -> None:
    """Store `count` runs that wait, as copies of `run`'s row."""
    columns = [field.column for field in Run._meta.concrete_fields if field.column not in ("id", "uid")]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO runs_run (uid, {', '.join(columns)}) SELECT gen_random_uuid(), {', '.join(columns)}"
            " FROM runs_run, generate_series(1, %s) WHERE id = %s",
            [count, run.pk],
        )
        cursor.execute(MANY, [run.depends_on[0]])
        cursor.execute("ANALYZE runs_run, runs_dependency")


def test_ten_thousand_that_wait_cost_the_sweep_nothing(acme: Member, django_assert_num_queries: Any) -> None:
    other = first(acme)
    run = then(acme, other)
    sweep()
    many_waiting(run, 10_000)
    with django_assert_num_queries(1) as seen:
        assert recovery.look_at_dependents(now=timezone.now()) == 0
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + seen.captured_queries[0]["sql"])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "dependency_due" in plan
    assert "Seq Scan" not in plan


def test_a_sweep_looks_for_a_while_and_no_longer(acme: Member) -> None:
    other = first(acme)
    runs = [then(acme, other) for _ in range(5)]
    sweep()
    end(other)
    looks = [recovery.look_at_dependents(now=timezone.now(), step_s=0.0) for _ in range(6)]
    assert looks == [1, 1, 1, 1, 1, 0]
    for run in runs:
        assert_queued(run)


@pytest.mark.parametrize("state", [S.QUEUED, S.RUNNING, S.SCHEDULED, S.BLOCKED])
def test_what_goes_on_without_an_end_is_not_looked_at(acme: Member, state: RunStatus) -> None:
    other = first(acme)
    then(acme, other)
    sweep()
    Run.objects.filter(pk=other.pk).update(status=S.BLOCKED if state == S.QUEUED else S.RUNNING)
    if state == S.RUNNING:
        Run.objects.filter(pk=other.pk).update(status=S.QUEUED)
    assert lifecycle.move(other.pk, state, now=timezone.now())
    assert_quiet()


def test_a_request_that_is_there_already_stays_as_it_is(acme: Member) -> None:
    """A second change in one transaction would have the foreign key checked at its commit, out of the locks' order."""
    other = first(acme)
    run = then(acme, other)
    sweep()

    def version() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT ctid, is_due FROM runs_dependency WHERE run_id = %s", [run.pk])
            return cursor.fetchone()

    versions = [version()]
    for _ in range(2):
        dependencies.tell_waiting([other.uid])
        versions.append(version())
    assert versions[1] == versions[2] != versions[0]
    assert versions[1][1] is True
