"""`depends_on`: a run waits for others, whatever becomes of them and whenever, and always says why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone

from actions import ActionDefinition, action
from actions.models import Action
from rest.errors import ApiError, Conflict, NotFound
from runs import (
    cancellation,
    checkpoint,
    deletion,
    dependencies,
    dependents,
    dispatch,
    input_list,
    lifecycle,
    live,
    recovery,
    resumption,
)
from runs.calls import input_error
from runs.checkpoint import LeaseLost, Outcome
from runs.input_list import InputFilter
from runs.lifecycle import By
from runs.models import TERMINAL, Actor, Batch, Dependency, ReadyRun, Run, RunStatus
from tests.factories import Api, Member, Number, counts, inputs_of, launch, numbers, outputs_of, reread, work
from tests.runs.live_worker import stored

pytestmark = pytest.mark.django_db
S = RunStatus
HOUR = timedelta(hours=1)
UNDER_WAY = [S.CREATED, S.QUEUED, S.SCHEDULED, S.BLOCKED, S.RUNNING]
MET, STUCK = [S.SUCCEEDED, S.PARTIAL_SUCCEEDED], [S.FAILED, S.STOPPED]


@pytest.fixture(autouse=True)
def actions(double: ActionDefinition) -> None:
    """`first` is what others wait for. Tests say how it ends; where it is executed, it succeeds."""

    @action("first", modes=["live", "async"])
    def first(input: Number) -> int:
        return input.n


def first(by: Member, **asked: Any) -> Run:
    return launch("first", numbers(2), by=by, batch_size=2, **asked)


def then(by: Member, *others: Run, **asked: Any) -> Run:
    return launch("double", [*numbers(2), {}], by=by, depends_on=[run.uid for run in others], **asked)


def by(who: Member) -> By:
    return By(Actor.MEMBER, who.user.uid)


def cancel(run: Run, who: Member) -> Run:
    return cancellation.cancel(run, by=by(who), now=timezone.now())


def resume(run: Run, who: Member) -> Run:
    return resumption.resume(run, by=by(who), now=timezone.now())


def sweep(**times: Any) -> recovery.Found:
    return recovery.sweep(**times)


def ok(offset: int) -> Outcome:
    return Outcome(offset, 1, time.time(), time.time(), outputs=[b"%d" % offset])


def bad(offset: int) -> Outcome:
    return Outcome(offset, 1, time.time(), time.time(), error=input_error("BAD", "it fails", error_ref="x"))


ENDINGS = {S.SUCCEEDED: (ok, ok), S.PARTIAL_SUCCEEDED: (ok, bad), S.FAILED: (bad, bad)}


def end(run: Run, status: RunStatus = S.SUCCEEDED) -> None:
    """Execute a run as a worker does, so that it ends as `status`."""
    ReadyRun.objects.filter(pk=run.pk).update(turn=-1)
    lease = dispatch.claim(worker="w", actions=["first"], now=timezone.now())
    assert lease is not None
    assert lease.run_id == run.pk
    outcomes = [what(offset) for offset, what in enumerate(ENDINGS[status]) if offset in lease.done.missing()]
    checkpoint.write(lease, outcomes, release=True)
    assert reread(run).status == status


def bring(run: Run, status: RunStatus, who: Member) -> None:
    """Bring a queued run to `status` as it gets there, where anything brings it there."""
    if status in ENDINGS:
        end(run, status)
    elif status == S.STOPPED:
        cancel(run, who)
    elif status == S.RUNNING:
        assert dispatch.claim(worker="w", actions=["first"], now=timezone.now())
    elif status == S.INVALID:
        ReadyRun.objects.filter(pk=run.pk).delete()
        Run.objects.filter(pk=run.pk).update(status=S.BLOCKED)
        assert lifecycle.move(run.pk, status, now=timezone.now())
    elif status != S.QUEUED:
        ReadyRun.objects.filter(pk=run.pk).delete()
        Run.objects.filter(pk=run.pk).update(status=status)
    assert reread(run).status == status


def waiting_for(run: Run) -> list[UUID]:
    return list(Dependency.objects.filter(run=run).order_by("id").values_list("depends_on_uid", flat=True))


def error_of(run: Run) -> tuple[Any, ...] | None:
    error = reread(run).last_error
    return (error["label"], error["scope"], error["params"]["run_uid"], error["params"]["status"]) if error else None


def stuck_at(run: Run, status: RunStatus | None) -> tuple[Any, ...]:
    return ("DEPENDENCY_FAILED", "run", str(run.uid), status)


def assert_waits(run: Run, *others: Run, error: tuple[Any, ...] | None = None, status: str = "BLOCKED") -> None:
    """It waits for `others`, is in nobody's way, and says why where it does not go on by itself."""
    run = reread(run)
    assert (run.status, error_of(run), waiting_for(run)) == (status, error, [other.uid for other in others])
    assert not ReadyRun.objects.filter(pk=run.pk).exists()
    assert [one["status"] for one in inputs_of(run)] == [status, status, "FAILED"]
    assert counts(run) == (0, 0, 1, 2)


def assert_queued(run: Run) -> None:
    run = reread(run)
    assert (run.status, run.last_error, run.postponed_until, waiting_for(run)) == (S.QUEUED, None, None, [])
    assert ReadyRun.objects.filter(pk=run.pk).exists()


def assert_invalid(run: Run, error: tuple[Any, ...]) -> None:
    """As one that was INVALID from the start: every input counts as invalid, and all lists say so."""
    run = reread(run)
    assert (run.status, error_of(run), waiting_for(run)) == (S.INVALID, error, [])
    assert run.finished_at is not None
    assert run.postponed_until is None
    assert counts(run) == (0, 0, 3, 0)
    assert not Batch.objects.filter(run=run).exists()
    assert not ReadyRun.objects.filter(pk=run.pk).exists()
    shown = inputs_of(run)
    assert [one["status"] for one in shown] == ["FAILED"] * 3
    assert [one["last_error"]["label"] for one in shown] == ["DEPENDENCY_FAILED"] * 2 + ["BAD_INPUT"]
    for label, indexes in (("DEPENDENCY_FAILED", [0, 1]), ("BAD_INPUT", [2]), ("NEVER", [])):
        found = input_list.page(run, limit=10, wanted=InputFilter(error_labels=[label]))
        assert ([one["index"] for one in found.inputs], found.total) == (indexes, len(indexes))
    assert outputs_of(run) == []
    last = run.transitions.latest("id")
    assert (last.to_status, last.actor, last.reason) == ("INVALID", "system", run.last_error["message"])


def assert_quiet() -> None:
    """A further sweep has nothing to look at."""
    assert sweep().due_dependents == 0
    assert not Dependency.objects.filter(is_due=True).exists()


# --- At launch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(S))
def test_each_state_at_launch(api: Api, acme: Member, state: RunStatus) -> None:
    other = first(acme)
    bring(other, state, acme)
    body = {"inputs": [*numbers(2), {}], "depends_on": [str(other.uid).upper(), str(other.uid)]}
    answer = api.post("/v1/actions/double/async", body)
    assert answer.status_code == 202, answer.content
    run = Run.objects.get(uid=answer.json()["run_uid"])
    assert answer.json()["status"] == run.status
    assert answer.json()["invalid_count"] == (3 if state == S.INVALID else 1)
    shown = api.get(f"/v1/runs/{run.uid}").json()
    assert shown["depends_on"] == [str(other.uid)]
    for _ in range(3):  # what the launch stored is what the sweep leaves
        if state in MET:
            assert_queued(run)
        elif state == S.INVALID:
            assert_invalid(run, stuck_at(other, S.INVALID))
        else:
            assert_waits(run, other, error=stuck_at(other, state) if state in STUCK else None)
            why = reread(run).last_error["message"] if state in STUCK else "depends_on"
            assert run.transitions.latest("id").reason == why
        sweep()
    assert run.transitions.count() == 2
    assert_quiet()


@pytest.mark.parametrize("state", list(S))
def test_each_state_at_launch_and_a_start_that_is_ahead(acme: Member, state: RunStatus) -> None:
    other = first(acme)
    bring(other, state, acme)
    start = timezone.now() + HOUR
    run = then(acme, other, start_after=start)
    sweep()
    if state == S.INVALID:
        assert_invalid(run, stuck_at(other, state))
        return
    assert_waits(run, *([] if state in MET else [other]), status="SCHEDULED")
    assert reread(run).postponed_until == start
    sweep(now=start)
    if state in MET:
        assert_queued(run)
    else:
        assert_waits(run, other, error=stuck_at(other, state) if state in STUCK else None)
        assert reread(run).postponed_until is None
    assert_quiet()


@pytest.mark.parametrize("which", ["unknown", "foreign", "deleted", "one of three"])
def test_a_run_that_is_not_there_refuses_the_launch(api: Api, acme: Member, other: Member, which: str) -> None:
    run = first(other if which == "foreign" else acme)
    uid = "01a20fab-b780-7028-b92b-b89b7137c50d" if which == "unknown" else str(run.uid)
    if which in ("deleted", "one of three"):
        deletion.delete(cancel(run, acme))
    uids = [str(first(acme).uid), uid, str(first(acme).uid)] if which == "one of three" else [uid]
    before = Run.objects.count()
    answer = api.post("/v1/actions/double/async", {"inputs": numbers(1), "depends_on": uids})
    error = answer.json()
    assert (answer.status_code, error["error_label"]) == (400, "BAD_INPUT")
    assert error["params"] == {"field": "depends_on", "run_uids": [uid]}
    assert uid in error["message"]
    assert Run.objects.count() == before


def test_its_own_reasons_come_first(api: Api, acme: Member) -> None:
    failed = first(acme)
    bring(failed, S.INVALID, acme)
    depends_on = {"depends_on": [str(failed.uid)]}
    path = "/v1/actions/double/async"
    for body, label in (({"inputs": [{}]}, "BAD_INPUT"), ({"inputs": numbers(1), "parameters": {"x": 1}}, "BAD_PARAM")):
        answer = api.post(path, body | depends_on)
        assert (answer.status_code, answer.json()["status"]) == (202, "INVALID")
        run = Run.objects.get(uid=answer.json()["run_uid"])
        assert run.last_error["label"].startswith(label)
        assert (run.depends_on, waiting_for(run)) == ([failed.uid], [])
        assert api.post(path, body | depends_on | {"on_invalid": "reject"}).status_code == 400
    answer = api.post(path, {"inputs": numbers(1), "on_invalid": "reject"} | depends_on)
    assert (answer.status_code, answer.json()["status"]) == (202, "INVALID")


def test_nothing_is_waited_for(api: Api, acme: Member) -> None:
    for nothing in ([], None):
        answer = api.post("/v1/actions/double/async", {"inputs": numbers(1), "depends_on": nothing})
        assert (answer.status_code, answer.json()["status"]) == (202, "QUEUED")
    assert api.get("/v1/runs").json()[0]["depends_on"] == []


def test_an_idempotency_key_stores_it_once(acme: Member) -> None:
    api, other = Api(acme.key, **{"Idempotency-Key": "once"}), first(acme)
    body = {"inputs": numbers(1), "depends_on": [str(other.uid)]}
    answers = [api.post("/v1/actions/double/async", body) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert (answers[1].json()["status"], Dependency.objects.count()) == ("BLOCKED", 1)


# --- While it waits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*MET, *STUCK, S.INVALID, S.RUNNING, None], ids=str)
@pytest.mark.parametrize("is_early", [False, True], ids=["blocked", "scheduled"])
def test_each_state_while_it_waits(acme: Member, state: RunStatus | None, is_early: bool) -> None:
    other = first(acme)
    start = timezone.now() + HOUR
    run = then(acme, other, start_after=start if is_early else None)
    waits = "SCHEDULED" if is_early else "BLOCKED"
    sweep()
    assert_waits(run, other, status=waits)
    assert_quiet()
    if state is None:
        deletion.delete(cancel(other, acme))
    else:
        bring(other, state, acme)
    assert sweep().due_dependents == (0 if state == S.RUNNING else 1)
    assert_quiet()
    if state in (None, S.INVALID):
        assert_invalid(run, stuck_at(other, state))
        sweep(now=start)
        assert_invalid(run, stuck_at(other, state))
        return
    error = stuck_at(other, state) if state in STUCK else None
    if is_early:
        assert_waits(run, *([] if state in MET else [other]), status=waits)
        assert sweep(now=start).due_runs == (1 if state in MET else 0)
        assert_quiet()
    if state in MET:
        assert_queued(run)
        work()
        assert (reread(run).status, counts(run)) == (S.PARTIAL_SUCCEEDED, (2, 0, 1, 0))
    else:
        assert_waits(run, other, error=error)


@pytest.mark.parametrize("state", STUCK)
def test_one_that_is_resumed_is_waited_for_without_an_error(acme: Member, state: RunStatus) -> None:
    other = first(acme)
    run = then(acme, other)
    for _ in range(2):
        bring(other, state, acme)
        sweep()
        assert_waits(run, other, error=stuck_at(other, state))
        resume(other, acme)
        sweep()
        assert_waits(run, other)
    end(other)
    sweep()
    assert_queued(run)


def test_the_error_is_of_the_first_that_is_stuck(acme: Member) -> None:
    others = [first(acme) for _ in range(3)]
    run = then(acme, *others)
    cancel(others[2], acme)
    sweep()
    assert_waits(run, *others, error=stuck_at(others[2], S.STOPPED))
    end(others[1], S.FAILED)
    sweep()
    assert_waits(run, *others, error=stuck_at(others[1], S.FAILED))
    resume(others[1], acme)
    end(others[1])
    sweep()
    assert_waits(run, others[0], others[2], error=stuck_at(others[2], S.STOPPED))
    deletion.delete(others[2])
    sweep()
    assert_invalid(run, stuck_at(others[2], None))
    end(others[0])
    assert_quiet()


def test_what_is_met_stays_met(acme: Member) -> None:
    done, open_ = first(acme), first(acme)
    run = then(acme, done, open_)
    end(done, S.PARTIAL_SUCCEEDED)
    sweep()
    assert_waits(run, open_)
    resume(done, acme)
    end(done, S.PARTIAL_SUCCEEDED)
    deletion.delete(done)
    sweep()
    assert_waits(run, open_)
    end(open_)
    sweep()
    assert_queued(run)
    assert reread(run).depends_on == [done.uid, open_.uid]


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "ended"])
def test_once_it_goes_it_depends_on_nobody(acme: Member, state: str) -> None:
    other = first(acme)
    run = then(acme, other)
    end(other, S.PARTIAL_SUCCEEDED)
    sweep()
    if state == "RUNNING":
        assert dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    elif state == "ended":
        work()
    before = reread(run).status
    resume(other, acme)
    sweep()
    cancel(other, acme)
    sweep()
    deletion.delete(other)
    sweep()
    assert (reread(run).status, reread(run).last_error) == (before, None)


def test_twenty(acme: Member) -> None:
    others = [first(acme) for _ in range(20)]
    run = then(acme, *others)
    for number, other in enumerate(reversed(others), 1):
        sweep()
        assert_waits(run, *others[: 21 - number])
        end(other)
    sweep()
    assert_queued(run)
    assert reread(run).depends_on == [other.uid for other in others]


# --- What people do with it -----------------------------------------------------------------------------------


def test_cancelled_and_resumed(api: Api, acme: Member) -> None:
    other = first(acme)
    run = then(acme, other)
    end(other, S.FAILED)
    sweep()
    answer = api.post(f"/v1/runs/{run.uid}/cancel", {})
    assert (answer.status_code, answer.json()["status"], answer.json()["last_error"]) == (200, "STOPPED", None)
    sweep()
    answer = api.post(f"/v1/runs/{run.uid}/resume", {})
    assert (answer.status_code, answer.json()["status"], answer.json()["last_error"]) == (200, "SCHEDULED", None)
    assert_waits(run, other, error=stuck_at(other, S.FAILED))  # at once
    resume(other, acme)
    sweep()
    answer = api.post(f"/v1/runs/{run.uid}/resume", {})
    assert answer.status_code == 200
    assert_waits(run, other)
    lines = [line["to_status"] for line in api.get(f"/v1/runs/{run.uid}/timeline").json()]
    assert lines == ["CREATED", "BLOCKED", "STOPPED", "SCHEDULED", "BLOCKED", "SCHEDULED", "BLOCKED"]
    end(other)
    resume(run, acme)  # sooner than the sweep
    assert_queued(run)
    work()
    assert reread(run).status == S.PARTIAL_SUCCEEDED


@pytest.mark.parametrize("state", [*MET, *STUCK, S.INVALID, None], ids=str)
@pytest.mark.parametrize("is_seen", [True, False])
def test_whatever_happened_while_it_was_stopped(acme: Member, state: RunStatus | None, is_seen: bool) -> None:
    other = first(acme)
    run = then(acme, other)
    sweep()
    cancel(run, acme)
    if state is None:
        deletion.delete(cancel(other, acme))
    else:
        bring(other, state, acme)
    if is_seen:
        sweep()
        assert_quiet()
    assert (reread(run).status, reread(run).last_error, counts(run)) == (S.STOPPED, None, (0, 0, 1, 2))
    if state in MET and is_seen:
        deletion.delete(other)
        sweep()
    resume(reread(run), acme)
    if state in MET:
        assert_queued(run)
    elif state in STUCK:
        assert_waits(run, other, error=stuck_at(other, state))
    else:
        assert_invalid(run, stuck_at(other, state))
    sweep()
    assert_quiet()


def test_a_start_that_is_ahead_is_over_with_a_resume(acme: Member) -> None:
    other = first(acme)
    run = then(acme, other, start_after=timezone.now() + HOUR)
    cancel(run, acme)
    resume(reread(run), acme)
    assert_waits(run, other)
    assert reread(run).postponed_until is None


def test_deleted_it_leaves_nothing(api: Api, acme: Member) -> None:
    other = first(acme)
    run = then(acme, other)
    assert api.client.delete(f"/v1/runs/{run.uid}").status_code == 409
    cancel(run, acme)
    assert api.client.delete(f"/v1/runs/{run.uid}").status_code == 204
    assert not Dependency.objects.exists()
    end(other)
    assert_quiet()
    assert not dependents.settle(run, now=timezone.now())  # as by a sweep that had seen it before


def test_a_live_call_may_be_waited_for(acme: Member) -> None:
    call, gone = stored(), stored()
    run, never = then(acme, call), then(acme, gone)
    sweep()
    assert_waits(run, call)
    assert live.withdraw(gone)
    lease = dispatch.claim_live(worker="w", actions=["double"], now=timezone.now())
    assert lease is not None
    checkpoint.write(lease, [ok(0)], release=True)
    sweep()
    assert_queued(run)
    assert_invalid(never, stuck_at(gone, None))


def test_the_system_stops_one(acme: Member) -> None:
    other = first(acme)
    run = then(acme, other)
    error = {"label": "TOO_MANY_FAILURES"}
    assert lifecycle.move(other.pk, S.STOPPED, now=timezone.now(), last_error=error)
    sweep()
    assert_waits(run, other, error=stuck_at(other, S.STOPPED))


def test_an_action_that_is_paused(acme: Member) -> None:
    other = first(acme)
    cancel(then(acme, other), acme)  # the action's row is made by its first launch
    assert Action.objects.filter(name="double").update(paused=True) == 1
    run = then(acme, other)
    sweep()
    assert_waits(run, other)
    end(other)
    sweep()
    assert (reread(run).status, reread(run).last_error["label"], waiting_for(run)) == ("BLOCKED", "ACTION_PAUSED", [])
    Action.objects.filter(name="double").update(paused=False)
    sweep()
    assert_queued(run)
    behind = then(acme, run)
    Action.objects.filter(name="double").update(paused=True)
    sweep()
    assert_waits(behind, run)  # that one goes on by itself, and says why it does not yet
    assert_quiet()


# --- Chains ---------------------------------------------------------------------------------------------------


def chain(by: Member, length: int) -> list[Run]:
    runs = [first(by)]
    for _ in range(length - 1):
        runs.append(launch("double", [*numbers(2), {}], by=by, depends_on=[runs[-1].uid]))
    return runs


def look_at_all() -> int:
    return recovery.look_at_dependents(now=timezone.now(), step_s=60.0)


def test_a_chain_is_told_in_one_go(acme: Member) -> None:
    runs = chain(acme, 30)
    look_at_all()
    end(runs[0], S.FAILED)
    assert look_at_all() == 29
    assert error_of(runs[1]) == stuck_at(runs[0], S.FAILED)
    for before, run in pairwise(runs[1:]):
        assert_waits(run, before, error=stuck_at(before, S.BLOCKED))
    resume(runs[0], acme)
    look_at_all()
    for before, run in pairwise(runs):
        assert_waits(run, before)
    cancel(runs[10], acme)
    look_at_all()
    assert error_of(runs[10]) is None
    assert error_of(runs[11]) == stuck_at(runs[10], S.STOPPED)
    assert error_of(runs[29]) == stuck_at(runs[28], S.BLOCKED)
    deletion.delete(runs[10])
    look_at_all()
    assert [reread(run).status for run in runs[1:10]] == [S.BLOCKED] * 9
    assert_invalid(runs[11], stuck_at(runs[10], None))
    for before, run in pairwise(runs[11:]):
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


# --- At once --------------------------------------------------------------------------------------------------


@pytest.fixture
def held_move() -> Iterator[Callable[..., Callable[[], None]]]:
    """Move a run in a transaction that stays open; what is returned ends it."""
    threads: list[tuple[threading.Thread, threading.Event]] = []

    def begin(run: Run, target: RunStatus) -> Callable[[], None]:
        moved, go = threading.Event(), threading.Event()

        def move() -> None:
            try:
                with transaction.atomic():
                    lifecycle.move(run.pk, target, now=timezone.now())
                    moved.set()
                    go.wait(30)
            finally:
                connection.close()

        thread = threading.Thread(target=move)
        thread.start()
        threads.append((thread, go))
        assert moved.wait(30)
        return lambda: (go.set(), thread.join(30))[0]

    yield begin
    for thread, go in threads:
        go.set()
        thread.join(30)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("target", [S.STOPPED, S.SUCCEEDED])
def test_one_that_is_just_ending_when_it_is_launched(acme: Member, held_move: Any, target: RunStatus) -> None:
    """The move has looked for those that wait before there was one, and the look comes before the move is done."""
    other = first(acme)
    assert dispatch.claim(worker="w", actions=["first"], now=timezone.now())
    finish = held_move(other, target)
    run = then(acme, other)
    for _ in range(2):
        sweep()
        assert_waits(run, other)
    finish()
    sweep()
    if target == S.STOPPED:
        assert_waits(run, other, error=stuck_at(other, target))
    else:
        assert_queued(run)
    assert_quiet()


def quietly(function: Callable[[], Any]) -> Callable[[], None]:
    def call() -> None:
        with suppress(ApiError):
            function()

    return call


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["launched", "cancelled", "resumed", "deleted", "due"])
def test_it_ends_while_the_other_is(acme: Member, what: str, side_by_side: Callable[..., list[Any]]) -> None:
    for _ in range(6):
        other, start = first(acme), timezone.now() + HOUR
        waiting = [then(acme, other, start_after=start if what == "due" else None) for _ in range(3)]
        if what in ("resumed", "deleted"):
            for run in waiting:
                cancel(run, acme)
        sweep()
        verbs = {
            "launched": lambda run: then(acme, other),  # noqa: B023
            "cancelled": lambda run: cancel(run, acme),
            "resumed": lambda run: resume(run, acme),
            "deleted": deletion.delete,
            "due": lambda run: sweep(now=start),  # noqa: B023
        }
        does = [quietly(lambda run=run: verbs[what](run)) for run in waiting]  # noqa: B023
        side_by_side(lambda: end(other), *does, sweep, sweep)  # noqa: B023
        sweep(now=start)
        assert_quiet()
        left = Run.objects.filter(depends_on__contains=[other.uid])
        assert set(left.values_list("status", flat=True)) <= {"cancelled": {"STOPPED", "QUEUED"}}.get(what, {"QUEUED"})
        assert left.count() == {"launched": 6, "deleted": 0}.get(what, 3)
        assert not Dependency.objects.exclude(run__status=S.STOPPED).exists()
        work()
        assert set(left.values_list("status", flat=True)) <= {"PARTIAL_SUCCEEDED", "STOPPED"}


@pytest.mark.django_db(transaction=True)
def test_everything_at_once(acme: Member, side_by_side: Callable[..., list[Any]]) -> None:
    """Nobody deadlocks, and nobody is left waiting without a reason."""
    tops = [first(acme) for _ in range(4)]
    middle = [then(acme, *tops[number:], *tops[:number]) for number in range(4)]
    bottom = [then(acme, *reversed(middle), tops[number]) for number in range(4)]
    runs = [*tops, *middle, *bottom]

    def stir(step: int) -> None:
        for number in range(24):
            run = reread(runs[number * step % len(runs)])
            verb = cancel if number % 3 else resume
            with suppress(Conflict, NotFound):
                verb(run, acme)
            if number == 20 and step == 5:
                with suppress(Conflict, NotFound):
                    deletion.delete(bottom[3])

    def go_on() -> None:
        for _ in range(40):
            lease = dispatch.claim(worker="w", actions=["first", "double"], now=timezone.now())
            with suppress(LeaseLost):
                if lease:
                    checkpoint.write(lease, [bad(offset) for offset in lease.done.missing()], release=True)

    def look() -> None:
        for _ in range(15):
            sweep()

    side_by_side(lambda: stir(5), lambda: stir(7), go_on, go_on, look, look)
    sweep()
    assert_quiet()
    for run in Run.objects.filter(pk__in=[run.pk for run in runs]):
        unmet = waiting_for(run)
        if run.status == S.BLOCKED:
            others = [reread(Run.objects.get(uid=uid)) for uid in unmet]
            stuck = any(one.status in STUCK or (one.status == S.BLOCKED and one.last_error) for one in others)
            assert unmet
            assert bool(run.last_error) == stuck
        else:
            assert run.status == S.STOPPED or not unmet
    for run in map(reread, [run for run in runs if Run.objects.filter(pk=run.pk).exists()]):
        if run.status in (S.STOPPED, S.FAILED):
            resume(run, acme)
    for _ in range(4):
        work()
        sweep()
    left = Run.objects.filter(pk__in=[run.pk for run in runs])
    assert set(left.values_list("status", flat=True)) <= TERMINAL - {S.FAILED, S.INVALID}
    assert not Dependency.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_that_somebody_holds_is_seen_as_it_was(acme: Member, held_move: Any) -> None:
    """A resume answers while the other run is held, and what then becomes of that one is not missed."""
    other = first(acme)
    run = then(acme, other)
    sweep()
    cancel(run, acme)
    finish = held_move(other, S.STOPPED)
    resume(reread(run), acme)
    assert_waits(run, other)
    finish()
    sweep()
    assert_waits(run, other, error=stuck_at(other, S.STOPPED))


def test_a_run_that_is_executed_is_not_queued_again(acme: Member) -> None:
    """As by a sweep that saw it due, and came after another and a worker."""
    run = first(acme)
    assert dispatch.claim(worker="w", actions=["first"], now=timezone.now())
    assert not recovery.queue(run, now=timezone.now())
    assert reread(run).status == S.RUNNING


def test_it_is_dead_only_for_those_that_wait_for_it(acme: Member) -> None:
    other, kept = first(acme), first(acme)
    run = then(acme, other, kept)
    assert not dependencies.waits_in_vain(run.pk)
    deletion.delete(cancel(kept, acme))
    assert dependencies.waits_in_vain(run.pk)
    assert not dependencies.waits_in_vain(other.pk)


def test_what_another_version_ended_without_a_word_is_found(acme: Member) -> None:
    met, gone = first(acme), first(acme)
    goes_on, in_vain, waits = then(acme, met), then(acme, gone), then(acme, first(acme))
    sweep()
    Run.objects.filter(pk=met.pk).update(status=S.SUCCEEDED)
    Run.objects.filter(pk=gone.pk).update(status=S.INVALID)
    assert sweep().due_dependents == 0
    assert recovery.look_at_forgotten_dependents(now=timezone.now()) == 2
    assert [reread(run).status for run in (goes_on, in_vain, waits)] == [S.QUEUED, S.INVALID, S.BLOCKED]
    assert recovery.look_at_forgotten_dependents(now=timezone.now()) == 0


def test_stopped_runs_are_not_asked_again_without_end(acme: Member) -> None:
    other = first(acme)
    stopped = then(acme, other)
    cancel(stopped, acme)
    sweep()
    Run.objects.filter(pk=other.pk).update(status=S.SUCCEEDED)
    assert recovery.look_at_forgotten_dependents(now=timezone.now()) == 0
    resume(reread(stopped), acme)  # which looks
    assert reread(stopped).status == S.QUEUED


@pytest.mark.parametrize("then_what", ["deleted", "resumed"])
def test_what_has_succeeded_is_met_whatever_happens_before_anybody_looks(acme: Member, then_what: str) -> None:
    other = first(acme)
    run = then(acme, other)
    sweep()
    end(other, S.PARTIAL_SUCCEEDED)
    if then_what == "deleted":
        deletion.delete(reread(other))
    else:
        resume(reread(other), acme)
    sweep()
    assert_queued(run)


def test_one_that_succeeded_before_it_was_seen_and_is_deleted(acme: Member) -> None:
    """Its end was told to nobody: the row was stored after it."""
    other = first(acme)
    run = then(acme, other)
    Run.objects.filter(pk=other.pk).update(status=S.SUCCEEDED)
    deletion.delete(reread(other))
    sweep()
    assert_queued(run)
