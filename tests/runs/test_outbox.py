"""The outbox: whatever a run calls back about is written with it, once, and with nothing that did not happen."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import ActionDefinition
from runs import (
    callbacks,
    checkpoint,
    deletion,
    dispatch,
    doorbell,
    execution,
    outbox,
    recovery,
)
from runs.checkpoint import LeaseLost, Outcome
from runs.leases import Lease
from runs.models import OutboxEntry, Run, RunProgress, RunStatus
from tests.factories import Api, Member, define, launch, numbers, outputs_of, reread, work
from tests.runs.called_back import announced, asked, ends, entries, errors, made, results
from tests.runs.steps import cancel, claim, ok, resume
from webhooks.models import BodyPack, Callback, CallbackStatus, Destination

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback_receivers")]


def bad(offset: int) -> Outcome:
    error = {"label": "NO", "error_label": "NO", "message": "no", "scope": "action", "params": {}, "error_ref": "r"}
    return Outcome(offset, 1, time.time(), time.time(), error=error)


def write(lease: Lease, *outcomes: Outcome, release: bool = False) -> None:
    checkpoint.write(lease, outcomes, release=release)


# --- What is written, and when --------------------------------------------------------------------------------


def test_each_checkpoint_writes_one_entry_and_the_last_the_end_as_well(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(3), by=acme, batch_size=3, callback=asked())
    lease = claim()
    assert entries(run) == []
    write(lease, ok(0), bad(1))
    assert entries(run) == ["results"]
    write(lease)
    assert entries(run) == ["results"]  # nothing was recorded
    write(lease, ok(2), release=True)
    assert entries(run) == ["results", "results", "PARTIAL_SUCCEEDED"]


def test_on_final_only_the_end_is_written(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [*numbers(3), {}], by=acme, batch_size=2, callback=asked(on="final"))
    work()
    assert entries(run) == ["PARTIAL_SUCCEEDED"]


def test_without_a_callback_nothing_is(acme: Member, double: ActionDefinition) -> None:
    launch("double", [*numbers(3), {}], by=acme, batch_size=2)
    launch("double", [{}], by=acme)
    work()
    assert not OutboxEntry.objects.exists()


def test_a_run_without_a_callback_is_recorded_by_as_many_statements(acme: Member, double: ActionDefinition) -> None:
    """And one with it too: its entry is stored together with the results."""
    counted = []
    for callback in (None, asked()):
        launch("double", numbers(2), by=acme, batch_size=2, callback=callback)
        lease = claim()
        with CaptureQueriesContext(connection) as queries:
            write(lease, ok(0), ok(1), release=True)
        counted.append(len(queries))
    assert counted[0] == counted[1]


@pytest.mark.parametrize("on", ["all", "final"])
def test_invalid_inputs_are_written_at_the_launch(acme: Member, double: ActionDefinition, on: str) -> None:
    values = [{"n": 0}, {}, {"n": 2}, {"n": 3}, {}, {}]
    run = launch("double", values, by=acme, batch_size=2, callback=asked(on=on))
    assert entries(run) == (["invalid", "invalid"] if on == "all" else [])
    work()
    assert (*entries(run),) == ("invalid", "invalid", "results", "results", "PARTIAL_SUCCEEDED")[
        0 if on == "all" else 4 :
    ]


@pytest.mark.parametrize("on", ["all", "final"])
def test_a_run_that_is_born_invalid(acme: Member, double: ActionDefinition, on: str) -> None:
    unfit = launch("double", [{}, {}], by=acme, batch_size=1, callback=asked(on=on))
    assert entries(unfit) == (["invalid", "invalid", "INVALID"] if on == "all" else ["INVALID"])
    mistaken = launch("double", numbers(2), by=acme, parameters={"x": 1}, callback=asked(on=on))
    assert entries(mistaken) == ["INVALID"]
    assert ends(announced(unfit)) == [("INVALID", "BAD_INPUT")]
    assert ends(made(mistaken)) == [("INVALID", "BAD_PARAMETERS")]
    assert made(mistaken)[-1]["error"] == reread(mistaken).last_error


def test_a_run_that_waited_in_vain(acme: Member, double: ActionDefinition) -> None:
    first = launch("double", numbers(1), by=acme)
    second = launch("double", [*numbers(1), {}], by=acme, depends_on=[first.uid], callback=asked())
    cancel(first, acme)
    deletion.delete(first)
    assert entries(second) == ["invalid"]
    recovery.sweep()
    assert entries(second) == ["invalid", "INVALID"]
    bodies = announced(second)
    assert ends(bodies) == [("INVALID", "DEPENDENCY_FAILED")]
    assert [error["label"] for error in errors(bodies)] == ["BAD_INPUT"]


def test_a_run_that_the_system_stops_has_a_final_callback_and_another_at_its_end(acme: Member, settings: Any) -> None:
    settings.RUNYARD_MAX_CONSECUTIVE_FAILURES = 3
    broken = [True]

    def body(n: int) -> int:
        if broken[0]:
            raise ValueError
        return n

    define("process", body)
    run = launch("act", numbers(6), by=acme, batch_size=3, callback=asked())
    work()
    assert reread(run).status == RunStatus.STOPPED
    bodies = announced(run)
    assert ends(bodies) == [("STOPPED", "TOO_MANY_FAILURES")]
    assert len(errors(bodies)) == 3
    broken[0] = False
    resume(run, acme)
    work()
    bodies = announced(run)
    assert ends(bodies) == [("STOPPED", "TOO_MANY_FAILURES"), ("PARTIAL_SUCCEEDED", "GENERIC_ERROR")]
    assert results(bodies) == outputs_of(run) == [3, 4, 5]


def test_each_end_is_called_back_and_no_result_twice(acme: Member) -> None:
    again: list[int] = []

    def body(n: int) -> int:
        if n % 2 and n not in again:
            raise ValueError
        return n

    define("process", body)
    run = launch("act", [*numbers(4), {}], by=acme, batch_size=2, callback=asked())
    work()
    again.append(1)
    resume(run, acme)
    work()
    again.append(3)
    resume(run, acme)
    work()
    bodies = announced(run)
    assert ends(bodies) == [("PARTIAL_SUCCEEDED", "GENERIC_ERROR")] * 2 + [("PARTIAL_SUCCEEDED", None)]
    assert bodies[-1]["run"]["status"] == "PARTIAL_SUCCEEDED"
    assert sorted(results(bodies)) == outputs_of(run) == [0, 1, 2, 3]
    told = [
        (body["input"].get("n"), body["error"]["label"])
        for body in bodies
        if body["error"] and body["input"] is not None
    ]
    assert told == [(None, "BAD_INPUT"), (1, "GENERIC_ERROR"), (3, "GENERIC_ERROR"), (3, "GENERIC_ERROR")]


# --- Nothing that did not happen ------------------------------------------------------------------------------


def test_a_checkpoint_that_lost_its_lease_writes_none(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=2, callback=asked())
    late = claim()
    dispatch.take_from_dead(["test:1"])
    with pytest.raises(LeaseLost):
        write(late, ok(0), ok(1), release=True)
    assert entries(run) == []
    taken = claim()
    RunProgress.objects.update(epoch=5)  # that is the last it looks at
    with pytest.raises(LeaseLost):
        write(taken, ok(0), ok(1), release=True)
    assert entries(run) == []


def test_one_whose_answer_was_lost_writes_one(acme: Member, double: ActionDefinition, monkeypatch: Any) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=2, callback=asked())
    lease = claim()
    write_once = checkpoint._write

    def write_and_lose(*arguments: Any, **names: Any) -> None:
        monkeypatch.setattr(checkpoint, "_write", write_once)
        write_once(*arguments, **names)
        raise OperationalError("the connection is gone")

    monkeypatch.setattr(checkpoint, "_write", write_and_lose)
    monkeypatch.setattr(connection, "close", lambda: None)
    write(lease, ok(0), ok(1), release=True)
    assert entries(run) == ["results", "SUCCEEDED"]


def test_a_launch_that_fails_leaves_nothing(acme: Member, double: ActionDefinition, monkeypatch: Any) -> None:
    monkeypatch.setattr(outbox, "_OF_INVALID", outbox._OF_INVALID + " nonsense")
    with pytest.raises(Exception, match="syntax"), transaction.atomic():
        launch("double", [{}, *numbers(3)], by=acme, batch_size=1, callback=asked())
    assert not Run.objects.exists()
    assert not OutboxEntry.objects.exists()


# --- Cancel and resume ----------------------------------------------------------------------------------------


def test_a_cancel_holds_what_is_open_and_a_resume_lets_go_of_it(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [*numbers(4), {}], by=acme, batch_size=2, callback=asked())
    write(claim(), ok(0), ok(1), release=True)
    callbacks._expand_next(run.pk)
    before = made(run)
    assert len(before) == 1
    cancel(run, acme)
    assert entries(run) == ["results"]
    assert announced(run) == before
    assert not callbacks.announce()
    cancel(run, acme)  # once more changes nothing
    resume(run, acme)
    work()
    bodies = announced(run)
    assert bodies[: len(before)] == before
    assert sorted(results(bodies), key=str) == sorted(outputs_of(run), key=str)
    assert ends(bodies) == [("PARTIAL_SUCCEEDED", None)]


def test_a_run_that_was_stopped_by_the_system_and_then_cancelled_tells_its_stop(acme: Member, settings: Any) -> None:
    """Cancelling it changes nothing: it is STOPPED already."""
    settings.RUNYARD_MAX_CONSECUTIVE_FAILURES = 1
    define("process", lambda n: 1 / 0)
    run = launch("act", numbers(2), by=acme, batch_size=1, callback=asked(on="final"))
    work()
    cancel(run, acme)
    assert ends(announced(run)) == [("STOPPED", "TOO_MANY_FAILURES")]


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_cancel_and_delete_wait_for_callbacks_that_are_being_made(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]], verb: str
) -> None:
    """Afterwards nothing is made any more, and of a deleted run nothing is left."""
    run = launch("double", numbers(4), by=acme, batch_size=2, callback=asked())
    write(claim(), ok(0), ok(1), release=True)
    if verb == "delete":
        Run.objects.update(status=RunStatus.STOPPED)

    is_being_made = threading.Event()

    def make() -> None:
        with transaction.atomic():
            taken = outbox.take(run.pk)
            assert taken
            callbacks._make(taken)
            is_being_made.set()
            give_up_at = time.monotonic() + 20
            while not waits_for_a_lock():
                assert time.monotonic() < give_up_at, "nobody waits"
                time.sleep(0.01)
            outbox.finish(taken)

    def end() -> int:
        assert is_being_made.wait(20)
        if verb == "cancel":
            cancel(run, acme)
        else:
            deletion.delete(run, force=True)
        return len(made(run))

    _, seen = side_by_side(make, end)
    assert seen == (2 if verb == "cancel" else 0)
    assert not callbacks.announce()
    assert len(made(run)) == seen


# --- Wakes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def webhooks_bell(bell: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(doorbell, "_silent_until", 0.0)
    monkeypatch.setattr(doorbell, "_waits_until", {})
    bell.delete(doorbell.ANNOUNCE.queue)
    return bell


def waiting(bell: Any) -> list[str]:
    messages = bell.lrange(doorbell.ANNOUNCE.queue, 0, -1)
    return [json.loads(message)["headers"]["task"] for message in messages]


def test_whoever_writes_an_entry_rings_once_it_is_committed(
    acme: Member, double: ActionDefinition, webhooks_bell: Any, django_capture_on_commit_callbacks: Any
) -> None:
    def rings(verb: Callable[[], Any]) -> list[str]:
        webhooks_bell.delete(doorbell.ANNOUNCE.queue)
        doorbell._waits_until.clear()
        with django_capture_on_commit_callbacks() as rung:
            verb()
        assert waiting(webhooks_bell) == []
        for ring in rung:
            ring()
        return waiting(webhooks_bell)

    quiet = launch("double", numbers(1), by=acme)
    assert rings(work) == []
    assert rings(lambda: launch("double", numbers(2), by=acme, batch_size=1, callback=asked())) == []
    run = reread(Run.objects.exclude(pk=quiet.pk).get())
    one = ["runs.announce"]
    assert rings(lambda: launch("double", [{}], by=acme, callback=asked(on="final"))) == one
    assert rings(lambda: launch("double", [*numbers(1), {}], by=acme, callback=asked())) == one
    assert rings(lambda: write(claim(), ok(0), release=True)) == one
    assert rings(lambda: cancel(run, acme)) == []
    assert rings(lambda: resume(run, acme)) == one
    assert rings(lambda: execution.execute_slice()) == one


def test_one_that_waits_is_enough(webhooks_bell: Any) -> None:
    for _ in range(3):
        assert doorbell.ring(bell=doorbell.ANNOUNCE)
        assert doorbell.ring(5, bell=doorbell.SEND)
    assert sorted(waiting(webhooks_bell)) == ["runs.announce", "webhooks.send"]
    webhooks_bell.delete(doorbell.ANNOUNCE.queue)
    assert doorbell.ring(bell=doorbell.ANNOUNCE)  # one waited just now
    assert waiting(webhooks_bell) == []
    doorbell._waits_until.clear()
    assert doorbell.ring(bell=doorbell.ANNOUNCE)
    assert waiting(webhooks_bell) == ["runs.announce"]


# --- Deleting -------------------------------------------------------------------------------------------------


def test_a_run_is_deleted_once_its_callbacks_have_arrived(api: Api, acme: Member, double: ActionDefinition) -> None:
    kept = launch("double", numbers(1), by=acme, callback=asked())
    run = launch("double", numbers(2), by=acme, callback=asked())
    work()
    path = f"/v1/runs/{run.uid}"
    for query in ("", "?force=false"):
        answer = api.client.delete(path + query)  # what is to be called back is in the outbox
        assert (answer.status_code, answer.json()["params"]["status"]) == (409, "SUCCEEDED")
        assert "force=true" in answer.json()["message"]
    assert len(announced(run)) == 3
    for status in (CallbackStatus.PENDING, CallbackStatus.RUNNING):
        Callback.objects.of_run(run.uid).exclude(pk=1).update(status=CallbackStatus.SUCCESS)
        first = Callback.objects.of_run(run.uid).order_by("pk")[:1]
        Callback.objects.filter(pk__in=first.values("pk")).update(status=status)
        assert api.client.delete(path).status_code == 409
    Callback.objects.of_run(run.uid).update(status=CallbackStatus.FAILED)
    assert api.client.delete(path).status_code == 204
    assert not Callback.objects.of_run(run.uid).exists()
    assert set(BodyPack.objects.values_list("run_uid", flat=True)) == {kept.uid}
    assert Destination.objects.count() == 1
    assert len(made(kept)) == 2


@pytest.mark.parametrize("is_made", [False, True])
def test_with_force_nobody_waits(api: Api, acme: Member, double: ActionDefinition, is_made: bool) -> None:
    run = launch("double", numbers(2), by=acme, callback=asked())
    work()
    if is_made:
        announced(run)
    assert api.client.delete(f"/v1/runs/{run.uid}?force=true").status_code == 204
    for model in (OutboxEntry, Callback, BodyPack, Destination):
        assert not model.objects.exists()  # type: ignore[attr-defined]


def test_what_a_cancel_holds_is_in_nobodys_way(api: Api, acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=1, callback=asked())
    write(claim(), ok(0), release=True)
    cancel(run, acme)
    assert entries(run) == ["results"]
    assert api.client.delete(f"/v1/runs/{run.uid}").status_code == 204


def test_retention_waits_a_week_more_for_callbacks(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme, callback=asked())
    work()
    callbacks._expand_next(run.pk)
    assert not deletion.delete_old(run, ended_before=timezone.now() + timedelta(days=6))
    assert Callback.objects.exists()
    assert deletion.delete_old(run, ended_before=timezone.now() + timedelta(days=8))
    assert not Callback.objects.exists()
    assert not Destination.objects.exists()
