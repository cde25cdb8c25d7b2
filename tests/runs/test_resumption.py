"""Resuming: what stopped goes on, what failed runs again, and every input ends with exactly one result."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from actions import ActionDefinition, ActionError, action
from rest.errors import Conflict, LimitReached, NotFound
from runs import cancellation, checkpoint, dispatch, input_list, recovery, resumption
from runs.checkpoint import LeaseLost, Outcome
from runs.input_list import InputFilter
from runs.input_states import STATUSES
from runs.lifecycle import By
from runs.models import TERMINAL, Actor, Batch, BatchStatus, ExecutionMode, ReadyRun, ResultChunk, Run, RunStatus
from tests.factories import Api, Member, counts, inputs_of, launch, member, numbers, outputs_of, reread, work
from tests.runs.steps import cancel, claim, ok, resume

pytestmark = pytest.mark.django_db


class Fails(dict[int, str]):
    """Which inputs of `moody` fail, with which label."""


@pytest.fixture
def fails() -> Fails:
    return Fails()


@pytest.fixture(autouse=True)
def moody(fails: Fails) -> ActionDefinition:
    """`moody`: gives the number, or fails as `fails` says when it is called."""

    class Number(BaseModel):
        n: int

    @action("moody")
    def moody(input: Number) -> int:
        if input.n in fails:
            raise ActionError(fails[input.n], f"{input.n} fails")
        return input.n

    return moody


def later(offset: int) -> Outcome:
    return Outcome(offset, 1, time.time(), time.time(), retry_at=time.time() + 60)


def shown_counts(run: dict[str, Any]) -> tuple[int, ...]:
    return run["succeeded_count"], run["failed_count"], run["invalid_count"], run["input_count"]


def assert_lists_agree(run: Run) -> None:
    """What is filtered, counted and listed of a run is the same, whatever was before."""
    run = reread(run)
    shown = inputs_of(run)
    labels = [(one["last_error"] or {}).get("label") for one in shown]
    for wanted in STATUSES:
        found = input_list.page(run, limit=1_000, wanted=InputFilter(statuses=[wanted]))
        assert [one["index"] for one in found.inputs] == [one["index"] for one in shown if one["status"] == wanted]
        assert found.total == len(found.inputs)
    for label in [*{label for label in labels if label}, "NEVER"]:
        found = input_list.page(run, limit=1_000, wanted=InputFilter(error_labels=[label]))
        assert [one["index"] for one in found.inputs] == [n for n, one in enumerate(labels) if one == label]
        assert found.total == len(found.inputs)
    progress = run.progress
    failed = sum(one["status"] == "FAILED" for one in shown)
    assert sum(one["status"] == "SUCCEEDED" for one in shown) == progress.succeeded_count
    assert failed == progress.failed_count + progress.invalid_count
    assert progress.output_count == len(outputs_of(run))
    assert outputs_of(run) == [one["input_data"]["n"] for one in shown if one["status"] == "SUCCEEDED"]
    if run.status in TERMINAL:
        assert progress.succeeded_count + progress.failed_count + progress.invalid_count == progress.input_count


# --- A run that was stopped -----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"action": "resume"}, {}, b"", {"action": None, "indexes": None}])
def test_a_stopped_run_goes_on_with_what_has_no_result(api: Api, acme: Member, body: Any) -> None:
    run = launch("moody", [*numbers(5), {}], by=acme, batch_size=3)
    checkpoint.write(claim("moody"), [ok(0), later(1)], release=False)
    cancel(run, acme)
    answer = api.post(f"/v1/runs/{run.uid}/resume", body)
    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert (told["status"], told["retry_count"], told["last_error"]) == ("SCHEDULED", 0, None)
    assert (told["postponed_until"], told["finished_at"]) == (None, None)
    assert shown_counts(told) == (1, 0, 1, 6)
    assert [one["status"] for one in inputs_of(run)] == ["SUCCEEDED", *["QUEUED"] * 4, "FAILED"]
    assert_lists_agree(run)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (5, 0, 1, 0))
    assert ResultChunk.objects.filter(generation__gt=0).count() == 0
    assert_lists_agree(run)
    lines = api.get(f"/v1/runs/{run.uid}/timeline").json()
    steps = [
        (line["to_status"], line["actor"], line["actor_uid"]) for line in lines if line["at"] >= told["updated_at"]
    ]
    uid = str(acme.user.uid)
    assert steps[:2] == [("SCHEDULED", "member", uid), ("QUEUED", "system", None)]


def test_a_late_worker_and_a_resumed_run_never_both_record(acme: Member) -> None:
    run = launch("moody", numbers(4), by=acme, batch_size=2)
    late, silent = claim("moody"), claim("moody")
    cancel(run, acme)
    resume(run, acme)
    with pytest.raises(LeaseLost):
        checkpoint.write(late, [ok(0), ok(1)], release=True)
    taken = claim("moody")
    assert (taken.batch_id, taken.attempt, taken.epoch) == (late.batch_id, late.attempt + 1, late.epoch + 2)
    checkpoint.write(taken, [ok(0)], release=False)
    for lost in (late, silent):
        with pytest.raises(LeaseLost):
            checkpoint.write(lost, [ok(0), ok(1)], release=True)
    checkpoint.write(taken, [ok(1)], release=True)
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.SUCCEEDED, (4, 0, 0, 0))
    assert_lists_agree(run)


def test_a_batch_claimed_while_its_run_was_stopped_is_free_at_once(acme: Member) -> None:
    run = launch("moody", numbers(2), by=acme, batch_size=2)
    claim("moody")
    Run.objects.filter(pk=run.pk).update(status=RunStatus.STOPPED)  # as a claim leaves it that came in between
    resume(run, acme)
    work()
    assert (reread(run).status, Batch.objects.get().crash_count) == (RunStatus.SUCCEEDED, 0)


def test_retries_begin_anew(acme: Member) -> None:
    run = launch("moody", numbers(2), by=acme, batch_size=1)
    checkpoint.write(claim("moody"), [later(0)], release=True)
    checkpoint.write(claim("moody"), [later(0)], release=True)
    assert (reread(run).status, reread(run).progress.retry_count) == (RunStatus.SCHEDULED, 2)
    cancel(run, acme)
    resumed = resume(run, acme)
    assert resumed.progress.retry_count == 0
    assert [one["retry_count"] for one in inputs_of(run)] == [0, 0]
    assert set(Batch.objects.values_list("status", "ready_at", "retries")) == {(BatchStatus.READY, None, None)}
    work()
    assert reread(run).status == RunStatus.SUCCEEDED


def test_a_blocked_run_is_looked_at_at_once(api: Api, acme: Member) -> None:
    run = launch("moody", numbers(2), by=acme)
    ReadyRun.objects.all().delete()
    hour = timezone.now() + timedelta(hours=1)
    Run.objects.filter(pk=run.pk).update(status="BLOCKED", last_error={"label": "X"}, postponed_until=hour)
    told = api.post(f"/v1/runs/{run.uid}/resume", {}).json()
    assert (told["status"], told["last_error"], told["postponed_until"]) == ("SCHEDULED", None, None)
    work()
    assert reread(run).status == RunStatus.SUCCEEDED


# --- A run that failed, wholly or in part ---------------------------------------------------------------------


def test_failed_inputs_run_again_and_the_others_are_kept(api: Api, acme: Member, fails: Fails) -> None:
    fails.update({1: "ODD", 4: "EVEN", 5: "ODD"})
    run = launch("moody", [*numbers(7), {}], by=acme, batch_size=3)
    work()
    ended = reread(run)
    assert (ended.status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (4, 3, 1, 0))
    before = {one["index"]: one for one in inputs_of(run)}

    told = api.post(f"/v1/runs/{run.uid}/resume", {}).json()
    assert (told["status"], told["last_error"], told["finished_at"]) == ("SCHEDULED", None, None)
    assert (shown_counts(told), told["progress"]) == ((4, 0, 1, 8), 0.625)
    assert [one["status"] for one in inputs_of(run) if one["index"] in fails] == ["QUEUED"] * 3
    assert_lists_agree(run)

    del fails[1], fails[4]
    fails[5] = "STILL"
    work()
    run = reread(run)
    assert (run.status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (6, 1, 1, 0))
    assert run.last_error["label"] == "STILL"
    assert run.started_at == ended.started_at
    assert run.finished_at > ended.finished_at
    assert_lists_agree(run)
    for one in inputs_of(run):
        if one["index"] in (0, 2, 3, 6, 7):
            assert one == before[one["index"]]
    assert inputs_of(run, error_labels=["ODD", "EVEN"]) == []

    fails.clear()
    resume(run, acme)
    work()
    run = reread(run)
    assert (run.status, run.last_error, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, None, (7, 0, 1, 0))
    assert_lists_agree(run)
    assert_nothing_to_run_again(api, run)


def assert_nothing_to_run_again(api: Api, run: Run, body: Any = b"") -> None:
    before = list(Run.objects.values()), list(Batch.objects.values()), run.transitions.count()
    answer = api.post(f"/v1/runs/{run.uid}/resume", body)
    assert (answer.status_code, answer.json()["error_label"]) == (409, "CONFLICT")
    assert answer.json()["params"] == {"status": reread(run).status}
    assert (list(Run.objects.values()), list(Batch.objects.values()), run.transitions.count()) == before


def test_a_failed_run_that_then_succeeds(acme: Member, fails: Fails) -> None:
    fails.update(dict.fromkeys(range(5), "DOWN"))
    run = launch("moody", numbers(5), by=acme, batch_size=2)
    work()
    assert (reread(run).status, reread(run).last_error["label"]) == (RunStatus.FAILED, "DOWN")
    fails.clear()
    resume(run, acme)
    work()
    run = reread(run)
    assert (run.status, run.last_error, counts(run)) == (RunStatus.SUCCEEDED, None, (5, 0, 0, 0))
    assert run.progress.generation == 1
    assert_lists_agree(run)


@pytest.mark.parametrize(
    ("wanted", "again"),
    [({"indexes": [1, 0]}, [1]), ({"error_labels": ["B"]}, [3, 4]), ({"error_labels": ["A", "B"]}, [1, 2, 3, 4]),
     ({"indexes": [1, 4], "error_labels": ["B", "C"]}, [4])],
    ids=["indexes", "a label", "two labels", "both"],
)  # fmt: skip
def test_only_the_failed_inputs_that_are_named(
    api: Api, acme: Member, fails: Fails, wanted: dict[str, Any], again: list[int]
) -> None:
    fails.update({1: "A", 2: "A", 3: "B", 4: "B"})
    run = launch("moody", numbers(6), by=acme, batch_size=2)
    work()
    fails.clear()
    answer = api.post(f"/v1/runs/{run.uid}/resume", wanted)
    assert answer.status_code == 200, answer.content
    assert [one["index"] for one in inputs_of(run, statuses=["QUEUED"])] == again
    assert_lists_agree(run)
    work()
    failed = [one["index"] for one in inputs_of(run, statuses=["FAILED"])]
    assert failed == [index for index in (1, 2, 3, 4) if index not in again]
    assert counts(run) == (6 - len(failed), len(failed), 0, 0)
    # The run shows the error of an input that is failed now, though others were recorded later.
    still = inputs_of(run, statuses=["FAILED"])
    assert ((reread(run).last_error or {}).get("message") in {one["last_error"]["message"] for one in still}) == bool(
        still
    )
    assert_lists_agree(run)


@pytest.mark.parametrize(
    "body", [{"indexes": [0, 2, 4]}, {"error_labels": ["NONE"]}, {"indexes": [1], "error_labels": ["NONE"]}]
)
def test_naming_none_that_failed(api: Api, acme: Member, fails: Fails, body: Any) -> None:
    fails[1] = "A"
    run = launch("moody", [*numbers(4), {}], by=acme, batch_size=2)
    work()
    assert_nothing_to_run_again(api, run, body)


def test_invalid_inputs_never_run_again(api: Api, acme: Member) -> None:
    run = launch("moody", [*numbers(2), {}], by=acme)
    work()
    assert_nothing_to_run_again(api, run)
    assert_nothing_to_run_again(api, run, {"error_labels": ["BAD_INPUT"]})


def test_cancel_in_the_middle_of_a_resume(acme: Member, fails: Fails) -> None:
    fails.update({0: "A", 1: "A", 2: "A"})
    run = launch("moody", numbers(4), by=acme, batch_size=1)
    work()
    resume(run, acme)
    lease = claim("moody")
    checkpoint.write(lease, [ok(0)], release=True)
    cancel(run, acme)
    assert counts(run) == (2, 0, 0, 2)
    assert_lists_agree(run)
    fails.clear()
    resume(run, acme)
    work()
    assert (reread(run).status, counts(run), reread(run).last_error) == (RunStatus.SUCCEEDED, (4, 0, 0, 0), None)
    # The number 0 is the output that the hand-made checkpoint wrote for the first batch.
    assert_lists_agree(run)


# --- What cannot be resumed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["CREATED", "QUEUED", "SCHEDULED", "RUNNING", "SUCCEEDED", "INVALID"])
def test_states_that_do_not_allow_it(api: Api, acme: Member, status: str) -> None:
    run = launch("moody", numbers(1), by=acme)
    Run.objects.filter(pk=run.pk).update(status=status)
    answer = api.post(f"/v1/runs/{run.uid}/resume", {})
    assert (answer.status_code, answer.json()["error_label"], answer.json()["params"]["status"]) == (
        409, "CONFLICT", status,
    )  # fmt: skip
    assert reread(run).status == status


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_live_calls_are_not_resumed(api: Api, acme: Member, status: str) -> None:
    run = launch("moody", numbers(1), by=acme)
    Run.objects.filter(pk=run.pk).update(execution_mode=ExecutionMode.LIVE, status=status)
    answer = api.post(f"/v1/runs/{run.uid}/resume", {})
    assert (answer.status_code, answer.json()["params"]) == (409, {"status": status})


@pytest.mark.parametrize("status", ["STOPPED", "BLOCKED"])
@pytest.mark.parametrize("body", [{"indexes": [0]}, {"error_labels": ["A"]}], ids=["indexes", "error_labels"])
def test_what_goes_on_takes_no_choice(api: Api, acme: Member, status: str, body: Any) -> None:
    run = launch("moody", numbers(1), by=acme)
    Run.objects.filter(pk=run.pk).update(status=status)
    answer = api.post(f"/v1/runs/{run.uid}/resume", body)
    assert (answer.status_code, answer.json()["params"]) == (409, {"status": status})


@pytest.mark.parametrize(
    ("body", "field"),
    [([], ""), ("resume", ""), ({"action": "stop"}, "action"), ({"indexes": []}, "indexes"),
     ({"indexes": 1}, "indexes"),
     ({"indexes": [1.0]}, "indexes.0"), ({"indexes": ["1"]}, "indexes.0"), ({"indexes": [True]}, "indexes.0"),
     ({"indexes": [-1]}, "indexes.0"), ({"indexes": [2]}, "indexes"), ({"error_labels": []}, "error_labels"),
     ({"error_labels": [""]}, "error_labels.0"), ({"error_labels": "A"}, "error_labels"), ({"index": [1]}, "index")],
    ids=str,
)  # fmt: skip
def test_bodies_that_are_refused(api: Api, acme: Member, fails: Fails, body: Any, field: str) -> None:
    fails.update({0: "A", 1: "A"})
    run = launch("moody", numbers(2), by=acme)
    work()
    answer = api.post(f"/v1/runs/{run.uid}/resume", body)
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_INPUT"), answer.content
    assert answer.json()["params"]["field"] == field
    assert reread(run).status == RunStatus.FAILED


def test_who_may_resume(acme: Member, other: Member) -> None:
    run = launch("moody", numbers(1), by=acme)
    cancel(run, acme)
    reader = member("Acme", "eve@acme.test", role="USER")
    read_only = member("Acme", "bob@acme.test", scopes=["read"])
    answers = [Api(key).post(f"/v1/runs/{run.uid}/resume", {}).status_code
               for key in (None, reader.key, read_only.key, other.key)]  # fmt: skip
    assert answers == [401, 403, 403, 404]
    assert reread(run).status == RunStatus.STOPPED


def test_a_run_that_had_ended_counts_as_unfinished_again(acme: Member, fails: Fails, settings: Any) -> None:
    fails[0] = "A"
    run = launch("moody", numbers(1), by=acme)
    work()
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 1
    other = launch("moody", numbers(1), by=acme)
    with pytest.raises(LimitReached):
        resume(reread(run), acme)
    assert (reread(run).status, counts(run)) == (RunStatus.FAILED, (0, 1, 0, 0))
    cancel(other, acme)
    resume(other, acme)  # was unfinished all the time
    work()
    resume(reread(run), acme)


def test_a_run_that_is_gone(acme: Member) -> None:
    run = launch("moody", numbers(1), by=acme)
    stopped = cancel(run, acme)
    Run.objects.filter(pk=run.pk).delete()
    with pytest.raises(NotFound):
        resume(stopped, acme)


# --- At once --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_of_twenty_at_once_one_wins(
    acme: Member, fails: Fails, state: str, side_by_side: Callable[..., list[Any]]
) -> None:
    if state == "failed":
        fails.update(dict.fromkeys(range(30), "A"))
    run = launch("moody", numbers(30), by=acme, batch_size=3)
    if state == "failed":
        work()
    else:
        cancel(run, acme)
    answers = side_by_side(*[lambda: Api(acme.key).post(f"/v1/runs/{run.uid}/resume", {})] * 20)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["params"]["status"] in ("SCHEDULED", "QUEUED")
    assert run.transitions.filter(actor="member", to_status="SCHEDULED").count() == 1
    fails.clear()
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.SUCCEEDED, (30, 0, 0, 0))
    assert_lists_agree(run)


@pytest.mark.django_db(transaction=True)
def test_cancels_resumes_and_workers_at_once(acme: Member, side_by_side: Callable[..., list[Any]]) -> None:
    """Nobody deadlocks, and in the end every input has one result."""
    run = launch("moody", numbers(60), by=acme, batch_size=2)

    def stop_and_go() -> None:
        for _ in range(10):
            for verb in (cancel, resume):
                with suppress(Conflict):
                    verb(run, acme)

    def go_on() -> None:
        for _ in range(60):
            lease = dispatch.claim(worker="w", actions=["moody"], now=timezone.now())
            if lease is None:
                continue
            try:
                for offset in lease.done.missing():
                    index = lease.first_index + offset
                    outcome = Outcome(offset, 1, time.time(), time.time(), outputs=[b"%d" % index])
                    checkpoint.write(lease, [outcome], release=False)
                checkpoint.write(lease, [], release=True)
            except LeaseLost:
                pass

    def sweep() -> None:
        for _ in range(10):
            recovery.sweep()

    side_by_side(stop_and_go, stop_and_go, go_on, go_on, sweep)
    run = reread(run)
    if run.status not in TERMINAL:
        if run.status != RunStatus.STOPPED:
            cancel(run, acme)
        resume(reread(run), acme)
        recovery.sweep()
        work()
    run = reread(run)
    assert (run.status, counts(run)) == (RunStatus.SUCCEEDED, (60, 0, 0, 0))
    assert_lists_agree(run)


# --- Any history ----------------------------------------------------------------------------------------------

ROUNDS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 7), st.sampled_from(["A", "B"])),
        st.sampled_from(["all", "indexes", "label"]),
        st.sets(st.integers(0, 8), min_size=1),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(rounds=ROUNDS, size=st.integers(1, 9))
def test_any_history_of_failures_cancels_and_resumes_adds_up(
    acme: Member, fails: Fails, rounds: list[Any], size: int
) -> None:
    """Against a model: the errors that stand, by index."""
    Batch.objects.all().delete()  # what another example left: this one must not claim it
    ReadyRun.objects.all().delete()
    fails.clear()
    run = launch("moody", [*numbers(8), {}], by=acme, batch_size=size)
    pending, model = set(range(8)), {}
    for round_fails, how, indexes, batches_first in rounds:
        fails.clear()
        fails.update(round_fails)
        for _ in range(batches_first):
            lease = dispatch.claim(worker="w", actions=["moody"], now=timezone.now())
            if lease is None:
                break
            left = lease.done.missing()
            if not left:  # its last result was recorded, and the cancel came before it was let go
                checkpoint.write(lease, [], release=True)
                continue
            offset = left[0]
            index = lease.first_index + offset
            outcome = Outcome(offset, 1, time.time(), time.time(), outputs=[b"%d" % index])
            checkpoint.write(lease, [outcome], release=False)
            pending.discard(index)
            model.pop(index, None)
        if reread(run).status not in TERMINAL:
            cancel(run, acme)
            assert_lists_agree(run)
            resume(reread(run), acme)
        work()
        model |= {index: label for index, label in fails.items() if index in pending}
        assert {one["index"]: one["last_error"]["label"] for one in inputs_of(run, statuses=["FAILED"])} == {
            **model, 8: "BAD_INPUT",
        }  # fmt: skip
        run = reread(run)
        assert (run.last_error is None) == (not model)
        assert run.status == (RunStatus.FAILED if len(model) == 8 else RunStatus.PARTIAL_SUCCEEDED)
        assert_lists_agree(run)
        wanted = {"all": {}, "indexes": {"indexes": indexes}, "label": {"error_labels": {"A"}}}[how]
        pending = {
            index for index, label in model.items()
            if (how != "indexes" or index in indexes) and (how != "label" or label == "A")
        }  # fmt: skip
        if not pending:
            with pytest.raises(Conflict):
                resume(run, acme, **wanted)
            break
        resume(run, acme, **wanted)
        model = {index: label for index, label in model.items() if index not in pending}
        assert_lists_agree(run)


@pytest.mark.parametrize("ended", [False, True], ids=["stopped", "failed"])
def test_what_processes_died_of_before_is_no_longer_held_against_an_input(
    acme: Member, fails: Fails, ended: bool
) -> None:
    by, now = By(Actor.MEMBER, acme.user.uid), timezone.now()
    run = launch("moody", numbers(2), by=acme, batch_size=2)
    if ended:
        fails[0] = fails[1] = "MOODY"
        work()
    against = {"careful": True, "suspect": 1, "suspect_since": now, "suspect_died_at": now, "suspect_deaths": 2}
    Batch.objects.filter(run=run).update(crash_count=2, **against)
    if not ended:
        cancellation.cancel(run, by=by, now=now)
    resumption.resume(reread(run), by=by, now=now)
    batch = Batch.objects.get(run=run)
    assert {name: getattr(batch, name) for name in against} == {
        "careful": False, "suspect": None, "suspect_since": None, "suspect_died_at": None, "suspect_deaths": 0,
    }  # fmt: skip
    assert batch.crash_count == 0
    lease = claim("moody")
    assert (lease.is_careful, lease.suspect) == (False, None)
