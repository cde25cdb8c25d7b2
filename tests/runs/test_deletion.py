"""Deleting: a run that has ended or stopped is gone with all it held, and nothing else is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction
from django.utils import timezone

from actions import ActionDefinition
from rest.errors import Conflict, NotFound
from runs import checkpoint, deletion, dispatch, recovery
from runs.checkpoint import LeaseLost
from runs.leases import Lease
from runs.models import Batch, ExecutionMode, InputChunk, InputSet, Run, RunStatus, WorkspaceTurn
from tests.factories import Api, Member, inputs_of, launch, member, numbers, outputs_of, reread, work
from tests.runs.steps import cancel, claim, ok
from workspaces.models import IdempotencyKey

pytestmark = pytest.mark.django_db
MODELS = [model for model in apps.get_app_config("runs").get_models() if model is not WorkspaceTurn]


def rows() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in MODELS}  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", ["", "?force=true", "?force=false"])
def test_a_run_is_gone_with_all_it_held(api: Api, acme: Member, double: ActionDefinition, query: str) -> None:
    kept = launch("double", [*numbers(3), {}], by=acme, batch_size=2)
    work()
    before = rows()
    run = launch("double", [*numbers(5), {}], by=acme, batch_size=2)
    work()
    answer = api.client.delete(f"/v1/runs/{run.uid}{query}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert rows() == before
    for path in ("", "/status", "/inputs", "/outputs", "/timeline"):
        assert api.get(f"/v1/runs/{run.uid}{path}").status_code == 404
    for verb in ("cancel", "resume"):
        assert api.post(f"/v1/runs/{run.uid}/{verb}", {}).status_code == 404
    assert api.client.delete(f"/v1/runs/{run.uid}").status_code == 404
    assert [one["uid"] for one in api.get("/v1/runs").json()] == [str(kept.uid)]
    assert (len(inputs_of(kept)), len(outputs_of(kept))) == (4, 3)


@pytest.mark.parametrize("status", ["STOPPED", "FAILED", "PARTIAL_SUCCEEDED", "SUCCEEDED", "INVALID"])
@pytest.mark.parametrize("mode", list(ExecutionMode))
def test_whatever_does_not_go_on_can_be_deleted(
    api: Api, acme: Member, double: ActionDefinition, status: str, mode: str
) -> None:
    run = launch("double", numbers(2), by=acme)
    Run.objects.filter(pk=run.pk).update(status=status, execution_mode=mode)
    assert api.client.delete(f"/v1/runs/{run.uid}").status_code == 204
    assert set(rows().values()) == {0}


@pytest.mark.parametrize("status", ["CREATED", "QUEUED", "SCHEDULED", "BLOCKED", "RUNNING"])
@pytest.mark.parametrize("query", ["", "?force=true"])
def test_what_goes_on_cannot(api: Api, acme: Member, double: ActionDefinition, status: str, query: str) -> None:
    run = launch("double", numbers(2), by=acme)
    Run.objects.filter(pk=run.pk).update(status=status)
    before = rows()
    answer = api.client.delete(f"/v1/runs/{run.uid}{query}")
    assert (answer.status_code, answer.json()["error_label"], answer.json()["params"]) == (
        409, "CONFLICT", {"status": status},
    )  # fmt: skip
    assert rows() == before


def test_parameters_that_are_refused(api: Api, acme: Member, double: ActionDefinition) -> None:
    run = cancel(launch("double", numbers(1), by=acme), acme)
    for query in ("force=1", "force=", "force=true&force=true", "really=true"):
        answer = api.client.delete(f"/v1/runs/{run.uid}?{query}")
        assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_PARAMETERS")
    assert api.get(f"/v1/runs/{run.uid}?force=true").status_code == 400
    assert reread(run).status == RunStatus.STOPPED


def test_who_may_delete(acme: Member, other: Member, double: ActionDefinition) -> None:
    run = cancel(launch("double", numbers(1), by=acme), acme)
    reader = member("Acme", "eve@acme.test", role="USER")
    read_only = member("Acme", "bob@acme.test", scopes=["read"])
    keys = (None, reader.key, read_only.key, other.key)
    assert [Api(key).client.delete(f"/v1/runs/{run.uid}").status_code for key in keys] == [401, 403, 403, 404]
    assert reread(run).status == RunStatus.STOPPED


def test_inputs_that_others_have_stay(acme: Member, double: ActionDefinition) -> None:
    first, second, due = (launch("double", numbers(3), by=acme, batch_size=2) for _ in range(3))
    Run.objects.filter(pk=second.pk).update(input_set=first.input_set)  # as two runs of one schedule
    Batch.objects.filter(run=second).delete()
    for run in (first, second, due):
        cancel(run, acme)
    deletion.delete(first)
    assert InputChunk.objects.filter(input_set=first.input_set_id).count() == 2
    deletion.delete(second)
    assert not InputSet.objects.filter(pk=first.input_set_id).exists()
    InputSet.objects.filter(pk=due.input_set_id).update(is_kept=True)
    deletion.delete(due)
    assert InputChunk.objects.filter(input_set=due.input_set_id).count() == 2  # the schedule's, which comes due again
    deletion.let_go_of_inputs(due.input_set_id)
    assert not InputSet.objects.filter(pk=due.input_set_id).exists()


def test_inputs_that_a_schedule_lets_go_of_stay_with_its_runs(acme: Member, double: ActionDefinition) -> None:
    run = cancel(launch("double", numbers(3), by=acme, batch_size=2), acme)
    InputSet.objects.update(is_kept=True)
    deletion.let_go_of_inputs(run.input_set_id)
    assert [one["input_data"] for one in inputs_of(run)] == numbers(3)
    deletion.delete(run)
    assert not InputSet.objects.exists()
    assert not InputChunk.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_whoever_has_inputs_last_frees_them(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    """Each sees the others still there unless they look one after the other."""
    for _ in range(5):
        first, second = (cancel(launch("double", numbers(3), by=acme, batch_size=2), acme) for _ in range(2))
        shared, own = first.input_set_id, second.input_set_id
        Run.objects.filter(pk=second.pk).update(input_set=shared)
        InputSet.objects.filter(pk=shared).update(is_kept=True)
        Batch.objects.filter(run=second).delete()
        together = threading.Barrier(3)

        def let_go(input_set_id: int = shared, together: threading.Barrier = together) -> None:
            with transaction.atomic():
                together.wait(30)
                deletion.let_go_of_inputs(input_set_id)
                time.sleep(0.05)  # the others look before this is committed

        def delete(run: Run, together: threading.Barrier = together) -> None:
            with transaction.atomic():
                together.wait(30)
                deletion.delete(run)
                time.sleep(0.05)

        side_by_side(let_go, lambda one=first: delete(one), lambda one=second: delete(one))
        assert not InputSet.objects.exclude(pk=own).exists()
        InputSet.objects.all().delete()


def test_the_idempotency_key_is_free_again(acme: Member, double: ActionDefinition) -> None:
    api = Api(acme.key, **{"Idempotency-Key": "once"})
    body = {"inputs": numbers(1)}
    first = api.post("/v1/actions/double/async", body).json()
    work()
    assert api.client.delete(f"/v1/runs/{first['run_uid']}").status_code == 204
    assert not IdempotencyKey.objects.exists()
    again = api.post("/v1/actions/double/async", body)
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (202, False)
    assert again.json()["run_uid"] != first["run_uid"]


def test_a_worker_that_is_still_at_it_records_nothing(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(2), by=acme)
    lease = claim()
    cancel(run, acme)
    deletion.delete(run)
    assert not dispatch.renew(lease.batch_id, lease.attempt)
    with pytest.raises(LeaseLost):
        checkpoint.write(lease, [ok(0)], release=True)
    with pytest.raises(NotFound):
        deletion.delete(run)
    assert set(rows().values()) == {0}


@pytest.mark.django_db(transaction=True)
def test_cancel_delete_and_workers_at_once(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    """Nobody deadlocks, one delete wins, and nothing is left behind."""
    for _ in range(6):
        run = launch("double", numbers(6), by=acme, batch_size=1)
        leases = [claim() for _ in range(3)]

        def away() -> str:
            for verb in (lambda: cancel(run, acme), lambda: deletion.delete(run)):  # noqa: B023
                try:
                    verb()
                except Conflict:
                    continue
                except NotFound:
                    return "gone"
            return "deleted"

        def go_on(lease: Lease) -> None:
            current: Lease | None = lease
            while current:
                try:
                    checkpoint.write(current, [ok(0)], release=True)
                except LeaseLost:
                    return
                current = dispatch.claim(worker="w", actions=["double"], now=timezone.now())

        told = side_by_side(away, away, recovery.sweep, *(lambda lease=lease: go_on(lease) for lease in leases))
        assert sorted(told[:2]) == ["deleted", "gone"]
        assert set(rows().values()) == {0}
