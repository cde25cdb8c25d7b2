"""Runs of inputs that are stored already, stored many at once: the same as a launch makes, and no copy."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import ActionDefinition, action, catalogue, registry
from actions.models import Action
from runs import doorbell, inputs, scheduled, turns
from runs.lifecycle import By
from runs.models import (
    Actor,
    Batch,
    InputChunk,
    ReadyRun,
    Run,
    RunCallback,
    RunProgress,
    RunStatus,
    WorkspaceTurn,
)
from runs.scheduled import ScheduledCallback, ScheduledLaunch
from tests.factories import Api, Member, Number, counts, inputs_of, launch, member, numbers, outputs_of, reread, work
from webhooks.models import Destination, Receiver

pytestmark = pytest.mark.django_db
NOW = timezone.now().replace(microsecond=0)
MIXED = [{"n": 1, "custom_data": {"row": 7}}, {"n": "x"}, {"n": 3}, {"x": 1}, {"x": 2}, {"n": 6}]


def wanted(by: Member, values: list[Any] | None = None, *, batch_size: int = 2, **fields: Any) -> ScheduledLaunch:
    """The launch of a schedule's run on `double`, its inputs stored."""
    definition, row = catalogue.find("double")
    prepared = inputs.prepare(numbers(3) if values is None else values, definition, batch_size=batch_size)
    input_set = inputs.input_set_of(prepared, by.workspace)
    input_set.is_kept = True
    input_set.save()
    inputs.store_chunks(prepared.chunks, input_set)
    uid = uuid4()
    whole = {
        "schedule_uid": uid,
        "name": "nightly",
        "parameters": {},
        "identity_ids": None,
        "identity_mode": "",
        "tags": ("a", "b"),
        "callback": None,
        "by": By(Actor.SCHEDULE, uid),
        "reason": "fired for 2026-03-29T06:00:00Z",
        **fields,
    }
    return ScheduledLaunch(
        workspace_id=by.workspace.pk,
        user_id=by.user.pk,
        action=row,
        input_set=input_set,
        batch_size=batch_size,
        **whole,
    )


def store(*launches: ScheduledLaunch) -> list[Run]:
    return scheduled.store(launches, now=NOW)


def batches_of(run: Run) -> list[tuple[Any, ...]]:
    fields = ("first_index", "input_count", "status", "done", "attempt", "checkpoint", "careful", "worker", "retries")
    rows = Batch.objects.filter(run=run).order_by("first_index").values_list(*fields)
    return [tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in rows]


def progress_of(run: Run) -> dict[str, Any]:
    values = RunProgress.objects.filter(pk=run.pk).values().get()
    del values["run_id"]
    return values


def test_it_is_what_a_launch_makes(acme: Member, double: ActionDefinition) -> None:
    one = wanted(acme, MIXED)
    (run,) = store(one)
    same = launch("double", MIXED, by=acme, batch_size=2, tags=["a", "b"])
    assert batches_of(run) == batches_of(same)
    assert progress_of(run) == progress_of(same)
    stored = reread(run)
    assert (stored.schedule_uid, stored.schedule_name, stored.name) == (one.schedule_uid, "nightly", "nightly")
    assert (stored.created_at, stored.updated_at, stored.execution_mode) == (NOW, NOW, "ASYNC")
    assert (stored.tags, stored.batch_size, stored.user_id) == (["a", "b"], 2, acme.user.pk)
    assert (run.progress.remaining, run.progress.invalid_count) == (3, 3)


def test_it_is_executed_and_read_as_any(acme: Member, api: Api, double: ActionDefinition) -> None:
    (run,) = store(wanted(acme, MIXED))
    work()
    assert (reread(run).status, counts(run)) == (RunStatus.PARTIAL_SUCCEEDED, (3, 0, 3, 0))
    assert outputs_of(run) == [{"n": 2}, {"n": 6}, {"n": 12}]
    shown = inputs_of(run)
    assert [one["status"] for one in shown] == [
        *("SUCCEEDED", "FAILED", "SUCCEEDED"),
        *("FAILED", "FAILED", "SUCCEEDED"),
    ]
    assert shown[0]["custom_data"] == {"row": 7}
    answer = api.get(f"/v1/runs/{run.uid}").json()
    assert answer["scheduled_run_uid"] == str(run.schedule_uid)
    assert answer["scheduled_run_name"] == "nightly"
    assert [one["uid"] for one in api.get(f"/v1/runs?scheduled_run_uid={run.schedule_uid}").json()] == [str(run.uid)]


def test_the_timeline_names_the_schedule_and_the_time(acme: Member, api: Api, double: ActionDefinition) -> None:
    (run,) = store(wanted(acme))
    created, queued = api.get(f"/v1/runs/{run.uid}/timeline").json()
    assert (created["from_status"], created["to_status"]) == (None, "CREATED")
    assert created["reason"] == "fired for 2026-03-29T06:00:00Z"
    assert (queued["from_status"], queued["to_status"]) == ("CREATED", "QUEUED")
    line = run.transitions.get(to_status="CREATED")
    assert (line.actor, line.actor_uid, line.at) == (Actor.SCHEDULE, run.schedule_uid, NOW)


def test_the_inputs_are_not_copied(acme: Member, double: ActionDefinition) -> None:
    one = wanted(acme, numbers(7))
    before = InputChunk.objects.count()
    runs = store(*[one] * 5)
    assert InputChunk.objects.count() == before == 4
    assert {run.input_set_id for run in runs} == {one.input_set.pk}
    work()
    assert [outputs_of(run) for run in runs] == [[{"n": 2 * n} for n in range(7)]] * 5


def test_many_cost_as_many_statements_as_one(acme: Member, double: ActionDefinition) -> None:
    one = wanted(acme, MIXED)
    with CaptureQueriesContext(connection) as for_one:
        store(one)
    with CaptureQueriesContext(connection) as for_many:
        store(*[one] * 40)
    assert len(for_many) == len(for_one) <= 8  # COPY is not counted
    assert store() == []


# --- What becomes of it at first


def invalid(run: Run) -> tuple[str, str]:
    stored = reread(run)
    assert stored.status == RunStatus.INVALID
    assert stored.last_error is not None
    assert stored.last_error["error_ref"] == str(run.uid)
    assert counts(run) == (0, 0, stored.progress.input_count, 0)
    assert (stored.finished_at, Batch.objects.filter(run=run).count()) == (NOW, 0)
    assert not ReadyRun.objects.filter(run=run).exists()
    assert run.transitions.get(to_status="INVALID").reason == stored.last_error["message"]
    return stored.last_error["label"], stored.last_error["message"]


def test_an_action_that_is_switched_off(acme: Member, double: ActionDefinition) -> None:
    one = wanted(acme)
    Action.objects.update(enabled=False)
    (run,) = store(replace(one, action=Action.objects.get()))
    assert invalid(run) == ("ACTION_SWITCHED_OFF", "The action 'double' is switched off.")


def redefine(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """A deploy has changed the action."""
    monkeypatch.delitem(registry._definitions, "double")

    class Factor(Number):
        pass

    @action("double", **options)
    def double(input: Number, *, parameters: Factor) -> Number:
        return input


def test_parameters_that_no_longer_fit(acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wanted(acme)
    redefine(monkeypatch)
    fitting = replace(one, parameters={"n": 2})
    refused, accepted = store(one, fitting)
    assert invalid(refused) == ("BAD_PARAMETERS", "parameters: n: Field required")
    assert reread(accepted).status == RunStatus.QUEUED


def test_parameters_that_are_too_large_by_now(acme: Member, double: ActionDefinition, settings: Any) -> None:
    settings.RUNYARD_MAX_PARAMETERS_BYTES = 10
    (run,) = store(wanted(acme, parameters={"x": "long enough"}))
    label, message = invalid(run)
    assert label == "BAD_PARAMETERS"
    assert "RUNYARD_MAX_PARAMETERS_BYTES" in message


def test_an_action_that_runs_on_schedules_no_more(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = wanted(acme, parameters={"n": 1})
    redefine(monkeypatch, modes=["live", "async"])
    label, message = invalid(*store(one))
    assert (label, message) == ("CONFLICT", "The action 'double' does not run on schedules; its modes are live, async.")


def test_inputs_of_which_none_fits(acme: Member, double: ActionDefinition) -> None:
    (run,) = store(wanted(acme, [{"x": 1}, {"n": "y"}]))
    label, message = invalid(run)
    assert label == "BAD_INPUT"
    assert message.startswith("No input fits the action. inputs[0]: n: Field required")
    assert run.last_error is not None
    assert [one["index"] for one in run.last_error["params"]["inputs"]] == [0, 1]


def test_an_action_that_is_paused(acme: Member, double: ActionDefinition) -> None:
    one = wanted(acme)
    Action.objects.update(paused=True)
    (run,) = store(replace(one, action=Action.objects.get()))
    blocked = reread(run)
    assert blocked.status == RunStatus.BLOCKED
    assert blocked.last_error is not None
    assert blocked.last_error["label"] == "ACTION_PAUSED"
    work()
    assert reread(run).status == RunStatus.BLOCKED
    Action.objects.update(paused=False)
    work()
    assert reread(run).status == RunStatus.SUCCEEDED


def test_an_action_whose_code_is_elsewhere(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = wanted(acme)
    with monkeypatch.context() as without:
        without.delitem(registry._definitions, "double")
        (run,) = store(one)
        assert reread(run).status == RunStatus.QUEUED
        work()
        assert reread(run).status == RunStatus.QUEUED
    work()
    assert reread(run).status == RunStatus.SUCCEEDED


# --- What goes with it


def test_each_run_has_a_destination_of_its_own(acme: Member, double: ActionDefinition) -> None:
    receiver = Receiver.objects.create(workspace=acme.workspace, origin="https://example.com:443")
    own = Destination.objects.create(
        receiver=receiver, url="https://example.com/x", headers=[["X-A", "b"]], created_at=NOW - timedelta(days=1)
    )
    runs = store(*[wanted(acme, callback=ScheduledCallback(own, "final", "batch"))] * 2, wanted(acme))
    callbacks = RunCallback.objects.order_by("pk").select_related("destination")
    assert [one.run_id for one in callbacks] == [run.pk for run in runs[:2]]
    assert {(one.on, one.per) for one in callbacks} == {("final", "batch")}
    copies = [one.destination for one in callbacks]
    assert len({own.pk, *[copy.pk for copy in copies]}) == 3
    assert {(copy.url, str(copy.headers), copy.receiver_id) for copy in copies} == {
        ("https://example.com/x", "[['X-A', 'b']]", receiver.pk)
    }


def test_they_are_in_line_as_if_launched_one_after_the_other(acme: Member, other: Member, double: Any) -> None:
    third = member("Initech", "milton@initech.test")
    launch("double", numbers(1), by=acme)
    served = launch("double", numbers(5), by=other, batch_size=1)
    for _ in range(3):
        turns.pass_turn(served.pk, other.workspace.pk, is_last=False)
    order = [acme, other, acme, third, third, acme]
    launches = [wanted(by) for by in order]

    def lines() -> tuple[list[Any], list[Any]]:
        ready = ReadyRun.objects.order_by("turn", "workspace").values_list("workspace", "turn")
        return list(ready), list(WorkspaceTurn.objects.order_by("pk").values_list("pk", "last_turn", "served_turn"))

    before = list(ReadyRun.objects.values_list("pk", flat=True))
    kept = list(WorkspaceTurn.objects.all())
    store(*launches)
    together = lines()
    ReadyRun.objects.exclude(pk__in=before).delete()
    WorkspaceTurn.objects.all().delete()
    WorkspaceTurn.objects.bulk_create(kept)
    for one in launches:
        store(one)
    assert lines() == together
    assert len(together[0]) == 8


@pytest.mark.django_db(transaction=True)
def test_workers_are_rung_for(acme: Member, double: ActionDefinition, bell: Any) -> None:
    one = wanted(acme, numbers(5))
    Action.objects.update(paused=True)
    store(replace(one, action=Action.objects.get()))
    assert bell.llen(doorbell.RUNS.queue) == 0
    store(one, one)
    rung = [json.loads(message)["headers"]["task"] for message in bell.lrange(doorbell.RUNS.queue, 0, -1)]
    assert rung == ["runs.wake"] * 6  # one for each batch
