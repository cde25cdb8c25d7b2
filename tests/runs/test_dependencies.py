"""`depends_on`: a run waits for others, whatever becomes of them and whenever, and always says why."""

from __future__ import annotations

import pytest
from django.utils import timezone

from actions.models import Action
from runs import checkpoint, deletion, dependents, dispatch, lifecycle, live
from runs.models import Dependency, Run, RunStatus
from tests.factories import Api, Member, counts, numbers, reread, work
from tests.runs.dependency_checks import (
    HOUR,
    MET,
    STUCK,
    S,
    assert_invalid,
    assert_queued,
    assert_quiet,
    assert_waits,
    bring,
    end,
    first,
    stuck_at,
    sweep,
    then,
    waiting_for,
)
from tests.runs.live_worker import stored
from tests.runs.steps import cancel, ok, resume

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("double", "awaited_action", "unhurried_sweep")]


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
