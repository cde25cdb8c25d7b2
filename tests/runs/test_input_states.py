"""What an input's status follows from: run, batch, done bits, results and what was wrong at launch."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionDefinition
from runs import checkpoint, dispatch, input_list, lifecycle, resumption
from runs.checkpoint import Outcome
from runs.input_list import InputFilter, InputPlace
from runs.input_states import STATUSES, Stretch
from runs.lifecycle import By
from runs.models import Actor, Batch, ResultChunk, Run, RunProgress, RunStatus
from runs.resumption import FailedInputs
from runs.uids import input_uid
from tests.factories import Member, inputs_of, launch, numbers, outputs_of, reread, work

pytestmark = pytest.mark.django_db


def statuses(run: Run) -> list[str]:
    return [one["status"] for one in inputs_of(run)]


def failed(offset: int, label: str = "NO") -> Outcome:
    error = {"label": label, "error_label": label, "message": label, "scope": "action", "params": {}, "error_ref": ""}
    return Outcome(offset, 1, time.time(), time.time(), error=error)


@pytest.mark.parametrize(
    ("status", "shown"),
    [("QUEUED", "QUEUED"), ("SCHEDULED", "SCHEDULED"), ("BLOCKED", "BLOCKED"), ("STOPPED", "STOPPED"),
     ("CREATED", "CREATED"), ("RUNNING", "QUEUED")],
)  # fmt: skip
def test_inputs_without_a_result_stand_where_their_run_stands(
    acme: Member, double: ActionDefinition, status: str, shown: str
) -> None:
    run = launch("double", [*numbers(2), {}], by=acme)
    Run.objects.filter(pk=run.pk).update(status=status)
    assert statuses(run) == [shown, shown, "FAILED"]
    assert [one["index"] for one in inputs_of(run, statuses=[shown])] == [0, 1]


def test_one_of_each(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [*numbers(6), {}], by=acme, batch_size=3)
    lease = dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    assert lease is not None
    assert statuses(run) == ["RUNNING"] * 3 + ["QUEUED"] * 3 + ["FAILED"]
    checkpoint.write(
        lease,
        [Outcome(0, 1, time.time(), time.time(), outputs=[b"1", b"2"]), failed(1),
         Outcome(2, 2, time.time(), time.time(), retry_at=time.time() + 60)],
        release=True,
    )  # fmt: skip
    shown = inputs_of(run)
    assert [one["status"] for one in shown] == [
        "SUCCEEDED",
        "FAILED",
        "SCHEDULED",
        "QUEUED",
        "QUEUED",
        "QUEUED",
        "FAILED",
    ]
    assert [one["output_count"] for one in shown] == [2, 0, 0, 0, 0, 0, 0]
    assert [one["retry_count"] for one in shown] == [0, 0, 2, 0, 0, 0, 0]
    work()
    assert statuses(run) == ["SUCCEEDED", "FAILED", "SCHEDULED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED"]
    lifecycle.move(run.pk, RunStatus.STOPPED, now=timezone.now())
    assert statuses(run)[2] == "STOPPED"


def test_of_two_results_the_later_generation_counts(acme: Member, double: ActionDefinition) -> None:
    """As a resume leaves it: the failure stays in its chunk, and the new result takes its place."""
    run = launch("double", numbers(2), by=acme, batch_size=2)
    lease = dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    assert lease is not None
    checkpoint.write(lease, [failed(0)], release=True)
    Batch.objects.update(done=bytes(1))
    RunProgress.objects.update(generation=1, epoch=1, failed_count=0, remaining=2)
    work()
    assert statuses(run) == ["SUCCEEDED", "SUCCEEDED"]
    assert inputs_of(run, error_labels=["NO"]) == []
    assert outputs_of(run) == [{"n": 0}, {"n": 2}]
    assert list(ResultChunk.objects.order_by("pk").values_list("generation", flat=True)) == [0, 1]


def test_a_failure_that_was_made_good_is_not_listed_with_those_that_stand(
    acme: Member, double: ActionDefinition
) -> None:
    run = launch("double", numbers(2), by=acme, batch_size=2)
    lease = dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    assert lease is not None
    checkpoint.write(lease, [failed(0), failed(1)], release=True)
    resumption.resume(reread(run), by=By(Actor.MEMBER), now=timezone.now(), wanted=FailedInputs(frozenset({0})))
    work()
    assert statuses(run) == ["SUCCEEDED", "FAILED"]
    for wanted in ({"statuses": ["FAILED"]}, {"error_labels": ["NO"]}):
        assert [one["index"] for one in inputs_of(run, **wanted)] == [1]


def test_totals_and_places(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", [{"n": n} if n % 3 else {} for n in range(20)], by=acme, batch_size=4)
    work()
    run = reread(run)
    wanted = InputFilter(statuses=["FAILED"])
    page = input_list.page(run, limit=3, wanted=wanted)
    assert ([one["index"] for one in page.inputs], page.start, page.next, page.total) == (
        [0, 3, 6],
        0,
        InputPlace(8, 3),
        7,
    )
    page = input_list.page(run, limit=3, wanted=wanted, start=page.next)
    assert ([one["index"] for one in page.inputs], page.start, page.next) == ([9, 12, 15], 3, InputPlace(16, 6))
    page = input_list.page(run, limit=3, wanted=InputFilter(error_labels=["BAD_INPUT"]), offset=6)
    assert ([one["index"] for one in page.inputs], page.start, page.next, page.total) == ([18], 6, None, 7)


@pytest.mark.parametrize("together", [1, 5, 200])
def test_how_much_is_read_at_once_changes_nothing(
    acme: Member, double: ActionDefinition, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(input_list, "INPUTS_READ_TOGETHER", together)
    run = launch("double", [{"n": n} if n % 4 else {} for n in range(15)], by=acme, batch_size=2)
    work()
    for offset in range(5):
        found = input_list.page(reread(run), limit=2, wanted=InputFilter(statuses=["FAILED"]), offset=offset)
        assert [one["index"] for one in found.inputs] == [0, 4, 8, 12][offset : offset + 2]


@pytest.fixture
def stretches_read(monkeypatch: pytest.MonkeyPatch) -> list[Stretch]:
    """Every stretch that is read from now on."""
    seen: list[Stretch] = []

    class Seen(Stretch):
        __slots__ = ()

        def __post_init__(self, packed_done: bytes | None) -> None:
            super().__post_init__(packed_done)
            seen.append(self)

    monkeypatch.setattr(input_list, "Stretch", Seen)
    return seen


@pytest.mark.parametrize("run_status", ["RUNNING", "SCHEDULED", "STOPPED", "BLOCKED"])
def test_totals_are_what_the_list_says(acme: Member, double: ActionDefinition, run_status: str) -> None:
    run = launch("double", [*numbers(8), {}], by=acme, batch_size=2)
    done = dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    held = dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    assert done is not None
    assert held is not None
    later = Outcome(1, 1, time.time(), time.time(), retry_at=time.time() + 60)
    checkpoint.write(done, [Outcome(0, 1, time.time(), time.time(), outputs=[b"1"]), later], release=True)
    checkpoint.write(held, [failed(0)], release=False)
    Run.objects.filter(pk=run.pk).update(status=run_status)
    shown = statuses(run)
    for wanted in [*([status] for status in STATUSES), ["RUNNING", "QUEUED", "FAILED"]]:
        found = input_list.page(reread(run), limit=9, wanted=InputFilter(statuses=wanted))
        assert [one["index"] for one in found.inputs] == [n for n, status in enumerate(shown) if status in wanted]
        assert found.total == len(found.inputs)


@pytest.mark.parametrize(
    ("status", "indexes", "total", "most_read"),
    [("RUNNING", [0], 1, 1), ("SCHEDULED", [], 0, 0), ("QUEUED", [1, 2, 3], 59, 10), ("SUCCEEDED", [], 0, 0),
     ("STOPPED", [], 0, 0)],
)  # fmt: skip
def test_a_filtered_page_reads_no_more_stretches_than_it_needs(
    acme: Member,
    double: ActionDefinition,
    stretches_read: list[Stretch],
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    indexes: list[int],
    total: int,
    most_read: int,
) -> None:
    monkeypatch.setattr(input_list, "WINDOW", 10)
    monkeypatch.setattr(input_list, "INPUTS_READ_TOGETHER", 5)
    run = launch("double", numbers(60), by=acme, batch_size=1)
    assert dispatch.claim(worker="w", actions=["double"], now=timezone.now())
    run = reread(run)
    found = input_list.page(run, limit=3, wanted=InputFilter(statuses=[status]))
    assert ([one["index"] for one in found.inputs], found.total) == (indexes, total)
    assert len(stretches_read) <= most_read


@pytest.mark.parametrize("inputs", [[{}, {}], [{"n": 1}, {}]])
def test_every_input_of_an_invalid_run_is_failed(acme: Member, double: ActionDefinition, inputs: list[Any]) -> None:
    run = launch("double", inputs, by=acme, parameters={"x": 1})
    shown = inputs_of(run)
    assert [one["status"] for one in shown] == ["FAILED", "FAILED"]
    assert [one["index"] for one in inputs_of(run, statuses=["FAILED"])] == [0, 1]
    labels = [one["last_error"]["label"] for one in shown]
    assert labels[1] == "BAD_INPUT"
    for label in set(labels):
        found = input_list.page(reread(run), limit=9, wanted=InputFilter(error_labels=[label]))
        assert [one["index"] for one in found.inputs] == [n for n in (0, 1) if labels[n] == label]
        assert found.total == labels.count(label)
    assert [one["last_error"]["error_ref"] for one in shown] == [str(one["uid"]) for one in shown]
    assert not Batch.objects.exists()


def test_uids_of_inputs_are_stable_distinct_and_of_the_runs_time(acme: Member, double: ActionDefinition) -> None:
    run = launch("double", numbers(1), by=acme)
    uids = [input_uid(run.uid, index) for index in range(2_000)]
    assert len(set(uids)) == 2_000
    assert input_uid(run.uid, 7) == uids[7]
    for uid in uids[::97]:
        assert (uid.version, uid.variant) == (7, run.uid.variant)
        assert uid.int >> 80 == run.uid.int >> 80
