"""Making callbacks of the outbox: what they say of a run, in which order, and once however many are at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import ActionDefinition, ActionError, action
from runs import (
    callback_bodies,
    callbacks,
    cancellation,
    checkpoint,
    deletion,
    dispatch,
    doorbell,
    outbox,
    recovery,
    tasks,
)
from runs.checkpoint import LeaseLost, Outcome
from runs.leases import Lease
from runs.lifecycle import By
from runs.models import Actor, InputChunk, OutboxEntry, ResultChunk, Run
from runs.uids import batch_uid
from tests.factories import Member, Number, inputs_of, launch, numbers, outputs_of, work
from tests.runs.called_back import announced, asked, ends, entries, errors, made, results
from tests.runs.steps import claim
from webhooks.models import BodyPack, Callback, Destination

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback_receivers")]


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "_turns", callbacks._Turns())


def body_of(n: int) -> list[Any]:
    match n % 4:
        case 0:
            return [f"{n}a", {"ü": n, "none": None}]
        case 1:
            raise ActionError("NO_SUCH", f"no {n}", {"n": n})
        case 2:
            return []
    return [n]


@pytest.fixture
def mixed(acme: Member) -> Callable[..., Run]:
    """Runs of seven inputs, one of them invalid: with two outputs, an error, none, or one."""

    def run_it(**fields: Any) -> Run:
        @action("act")
        def act(input: Number) -> list[Any]:
            return body_of(input.n)

        inputs = [{"n": n, "custom_data": {"row": n}} if n != 5 else {"n": "five"} for n in range(7)]
        run = launch("act", inputs, by=acme, batch_size=4, callback=asked(**fields))
        work()
        return run

    return run_it


# --- What they say --------------------------------------------------------------------------------------------


def test_per_input(mixed: Callable[..., Run]) -> None:
    run = mixed()
    shown = inputs_of(run)
    bodies = announced(run)
    *told, final = bodies
    assert len(told) == len(shown) == 7
    by_input = {str(body["input"]): body for body in told}
    for one in shown:
        body = by_input[str(one["input_data"])]
        assert (body["custom_data"], body["error"]) == (one["custom_data"], one["last_error"])
        assert len(body["results"]) == one["output_count"]
        assert body["run"] == {
            "run_uid": str(run.uid), "status": "RUNNING", "batch_uid": str(batch_uid(run.uid, one["index"] // 4 * 4)),
        }  # fmt: skip
    assert sorted(results(told), key=str) == sorted(outputs_of(run), key=str)
    assert {error["error_ref"] for error in errors(told)} == {str(shown[n]["uid"]) for n in (1, 5)}
    assert (final["input"], final["custom_data"], final["results"]) == (None, None, [])
    assert ends(bodies) == [("PARTIAL_SUCCEEDED", "NO_SUCH")]


def test_per_batch(mixed: Callable[..., Run]) -> None:
    run = mixed(per="batch")
    shown = inputs_of(run)
    bodies = announced(run)
    invalid, first, second, final = bodies
    assert [[item["index"] for item in body["items"]] for body in bodies] == [[5], [0, 1, 2, 3], [4, 6], []]
    assert [body["run"]["batch_uid"] for body in bodies] == [
        *(str(batch_uid(run.uid, first_index)) for first_index in (4, 0, 4)), None,
    ]  # fmt: skip
    for item in (*invalid["items"], *first["items"], *second["items"]):
        one = shown[item["index"]]
        assert (item["input"], item["custom_data"], item["error"]) == (
            one["input_data"], one["custom_data"], one["last_error"],
        )  # fmt: skip
    assert all(body["error"] is None for body in (invalid, first, second))
    assert results([first, second]) == outputs_of(run)
    assert (final["items"], final["results"], final["run"]["status"]) == ([], [], "PARTIAL_SUCCEEDED")


@pytest.mark.parametrize("per", ["input", "batch"])
def test_on_final(mixed: Callable[..., Run], per: str) -> None:
    run = mixed(on="final", per=per)
    bodies = announced(run)
    assert (len(bodies), ends(bodies)) == (1, [("PARTIAL_SUCCEEDED", "NO_SUCH")])


@pytest.mark.parametrize("per", ["input", "batch"])
def test_large_ones_are_split(mixed: Callable[..., Run], per: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_bodies, "MAX_BODY_BYTES", 200)
    run = mixed(per=per)
    bodies = announced(run)
    assert len(bodies) > (8 if per == "input" else 4)
    assert sorted(results(bodies), key=str) == sorted(outputs_of(run), key=str)
    assert len({body["callback_ref_uid"] for body in bodies}) == len(bodies) == Callback.objects.count()


# --- Once, and in which order ---------------------------------------------------------------------------------


def test_the_end_comes_after_all_others(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [*numbers(6), {}], by=acme, batch_size=1, callback=asked())
    work()
    announced(run)
    created = list(Callback.objects.order_by("pk").values_list("created_at", "batch_uid"))
    assert created == sorted(created, key=lambda one: one[0])
    assert [uid is None for _, uid in created] == [*[False] * 7, True]
    assert created[-1][0] > created[-2][0]


def test_an_entry_whose_callbacks_cannot_be_made_is_in_nobodys_way(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = launch("double", numbers(3), by=acme, batch_size=1, callback=asked())
    whole = launch("double", numbers(2), by=acme, batch_size=1, callback=asked())
    work()
    chunk = ResultChunk.objects.filter(run=broken).order_by("pk")[1]
    ResultChunk.objects.filter(pk=chunk.pk).update(summary=b"nonsense")
    assert callbacks.announce(slice_s=60)
    assert ends(made(whole)) == [("SUCCEEDED", None)]
    assert (len(results(made(broken))), ends(made(broken))) == (2, [])  # its end is to be the last
    assert entries(broken) == ["results", "SUCCEEDED"]
    assert "callbacks_not_made" in caplog.text
    assert not callbacks.announce()
    ResultChunk.objects.filter(pk=chunk.pk).update(summary=chunk.summary)
    assert not callbacks.announce()
    monkeypatch.setattr(callbacks, "PUT_OFF_S", 0.0)
    callbacks._turns.put_off = {run_id: (pk, 0.0) for run_id, (pk, _) in callbacks._turns.put_off.items()}
    assert callbacks.announce(slice_s=60)
    assert sorted(results(made(broken)), key=str) == outputs_of(broken)
    assert ends(made(broken)) == [("SUCCEEDED", None)]


def test_a_failure_in_the_middle_leaves_no_callback(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launch("double", numbers(3), by=acme, batch_size=3, callback=asked())
    work()
    chunk = ResultChunk.objects.get()
    summary = callbacks.unpack_json(chunk.summary)
    monkeypatch.setattr(callbacks, "unpack_json", lambda packed: summary | {"outputs": [1, 1, -1]})
    assert callbacks.announce()
    assert not Callback.objects.exists()
    assert not BodyPack.objects.exists()
    monkeypatch.undo()
    assert len(results(announced(run))) == 3


def test_a_database_that_is_away_is_no_fault_of_the_entry(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launch("double", numbers(1), by=acme, callback=asked())
    work()

    def gone(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "_make", gone)
        with pytest.raises(OperationalError):
            callbacks.announce()
    assert not callbacks._turns.put_off
    assert ends(announced(run)) == [("SUCCEEDED", None)]


def test_runs_take_turns(acme: Member, other: Member, double: ActionDefinition) -> None:
    """A run with many entries, before one with few, does not make that one wait for all of its own."""
    many = launch("double", numbers(40), by=acme, batch_size=1, callback=asked())
    few = launch("double", numbers(2), by=other, batch_size=1, callback=asked())
    work()
    for _ in range(6):
        assert callbacks.announce(slice_s=0)  # one entry at a time
    assert (len(made(many)), ends(made(few))) == (3, [("SUCCEEDED", None)])


def test_no_run_is_left_out_however_many_there_are(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "RUNS_IN_A_ROUND", 3)
    runs = [launch("double", numbers(2), by=acme, batch_size=1, callback=asked()) for _ in range(8)]
    work()
    for _ in range(len(runs)):
        assert callbacks.announce(slice_s=0)
    assert [len(made(run)) for run in runs] == [1] * 8
    while callbacks.announce(slice_s=0):
        pass
    assert [len(made(run)) for run in runs] == [3] * 8
    assert not OutboxEntry.objects.exists()


def test_finding_what_is_next_costs_little_whatever_is_open_and_held(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme, callback=asked())
    held = launch("double", numbers(1), by=acme, callback=asked())
    with connection.cursor() as cursor:
        for pk, is_held in ((run.pk, False), (held.pk, True)):
            cursor.execute(
                "INSERT INTO runs_outboxentry (run_id, status, is_held)"
                " SELECT %s, '', %s FROM generate_series(1, 3000)",
                [pk, is_held],
            )
        cursor.execute("ANALYZE runs_outboxentry")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {outbox._RUNS}", {"after": 0, "limit": 32})
        plan = str(cursor.fetchone()[0])
    assert "'Seq Scan'" not in plan
    assert "'Rows Removed by Filter': 3000" not in plan
    assert outbox.runs_after(0, limit=32) == [run.pk]
    assert outbox.runs_after(run.pk, limit=32) == []


@pytest.mark.parametrize("per", ["input", "batch"])
def test_an_entry_takes_few_queries_whatever_it_holds(mixed: Callable[..., Run], per: str) -> None:
    mixed(per=per)
    while OutboxEntry.objects.exists():
        with CaptureQueriesContext(connection) as queries:
            assert callbacks.announce(slice_s=0)
        # Which runs, at the end of the table twice; the entry and its run, its results or inputs, and its end.
        assert sum("runs_" in query["sql"] for query in queries) <= 5


def test_the_task_has_them_sent_and_comes_again(
    acme: Member, double: ActionDefinition, bell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "_silent_until", 0.0)
    monkeypatch.setattr(doorbell, "_waits_until", {})
    bell.delete("webhooks")
    tasks.announce()
    assert bell.llen("webhooks") == 0
    launch("double", numbers(1), by=acme, callback=asked())
    work()
    tasks.announce()
    assert Callback.objects.count() == 2
    assert bell.llen("webhooks") == 2
    assert all(
        any(name in message for message in bell.lrange("webhooks", 0, -1))
        for name in (b"webhooks.send", b"runs.announce")
    )


# --- Many at once ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_each_callback_once(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    runs = [launch("double", [*numbers(12), {}], by=acme, batch_size=1, callback=asked()) for _ in range(3)]
    work()

    def make() -> None:
        while callbacks.announce() or OutboxEntry.objects.exists():
            pass

    side_by_side(make, make, make)
    for run in runs:
        bodies = made(run)
        assert sorted(results(bodies), key=str) == sorted(outputs_of(run), key=str)
        assert (len(bodies), len(errors(bodies)), ends(bodies)) == (14, 1, [("PARTIAL_SUCCEEDED", None)])
        assert bodies[-1]["run"]["status"] == "PARTIAL_SUCCEEDED"


@pytest.mark.django_db(transaction=True)
def test_an_end_waits_for_what_another_is_at(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    run = launch("double", numbers(1), by=acme, callback=asked())
    work()
    assert entries(run) == ["results", "SUCCEEDED"]
    with transaction.atomic():
        taken = outbox.take(run.pk)
        assert taken
        assert side_by_side(callbacks.announce) == [False]
        callbacks._make(taken)
        outbox.finish(taken)
        assert side_by_side(callbacks.announce) == [False]  # not committed yet
    assert callbacks.announce()
    assert ends(made(run)) == [("SUCCEEDED", None)]


@pytest.mark.django_db(transaction=True)
def test_workers_cancels_deletes_and_callbacks_at_once(
    acme: Member, double: ActionDefinition, side_by_side: Callable[..., list[Any]]
) -> None:
    """Nobody deadlocks, and of what was deleted nothing is left."""
    for _ in range(5):
        run = launch("double", [*numbers(6), {}], by=acme, batch_size=1, callback=asked())
        leases = [claim() for _ in range(2)]

        def away() -> None:
            cancellation.cancel(run, by=By(Actor.MEMBER, acme.user.uid), now=timezone.now())  # noqa: B023
            seen = Callback.objects.count()
            assert not callbacks.announce()
            assert Callback.objects.count() == seen
            deletion.delete(run, force=True)  # noqa: B023

        def go_on(lease: Lease) -> None:
            current: Lease | None = lease
            while current:
                try:
                    checkpoint.write(current, [Outcome(0, 1, time.time(), time.time(), outputs=[b"1"])], release=True)
                except LeaseLost:
                    return
                current = dispatch.claim(worker="w", actions=["double"], now=timezone.now())

        def make() -> None:
            while callbacks.announce() or Run.objects.exists():
                pass

        side_by_side(away, make, make, recovery.sweep, *(lambda lease=lease: go_on(lease) for lease in leases))
        for model in (Run, OutboxEntry, InputChunk, ResultChunk, Callback, BodyPack, Destination):
            assert not model.objects.exists(), model  # type: ignore[attr-defined]
