from __future__ import annotations

from typing import Any

import pytest

from actions import ActionError
from runs import batch_map as maps
from runs import resumption
from runs.batch_map import batch_map
from runs.lifecycle import By
from runs.models import Actor, Batch, BatchStatus, Run
from tests.factories import define, launch, numbers, reread, work

pytestmark = pytest.mark.django_db


def kinds(run: Run) -> list[str]:
    return [cell.kind for cell in batch_map(reread(run)).cells]


@pytest.fixture
def run(acme: Any) -> Run:
    """A run of four batches of two that is not begun. Its odd inputs from 3 on fail, and all from 6 on."""

    def body(n: int) -> int:
        if n >= 6 or n in (3, 5):
            raise ActionError("BAD_LUCK", "luck")
        return n

    define("process", body)
    return launch("act", numbers(8), by=acme, batch_size=2)


def test_tells_what_is_done_in_part_and_failed(run):
    assert kinds(run) == ["ready"] * 4
    work()
    assert kinds(run) == ["done", "partial", "partial", "failed"]


@pytest.mark.parametrize(("status", "kind"), [("LEASED", "running"), ("WAITING", "waiting"), ("READY", "ready")])
def test_tells_where_a_batch_is(run, status, kind):
    Batch.objects.filter(first_index=2).update(status=status, done=b"\x01", attempt=3, crash_count=2)
    found = batch_map(reread(run))
    cell = found.cells[1]
    assert (cell.kind, cell.style) == (kind, "--done:50%")
    assert cell.told.endswith("1 failed, 1 to come, attempt 3, 2 crashes")
    assert (found.crashes, found.batch_count) == (2, 4)


def test_counts_no_failure_twice_that_ran_again(run, acme):
    work()
    define("process", lambda n: n)
    resumption.resume(run, by=By(Actor.MEMBER, acme.user.uid), now=run.created_at)
    assert "failed" not in kinds(run)
    work()
    found = batch_map(reread(run))
    assert found.legend == [("done", "done", 4)]
    assert [cell.failed for cell in found.cells] == [0] * 4


def test_takes_batches_together_where_there_are_many(run, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(maps, "MOST_CELLS", 2)
    Batch.objects.filter(first_index=6).update(status=BatchStatus.LEASED)
    read = reread(run)
    with django_assert_num_queries(1):
        found = batch_map(read)
    assert found.batches_a_cell == 2
    assert [(cell.first_index, cell.input_count, cell.kind) for cell in found.cells] == [
        (0, 4, "ready"),
        (4, 4, "running"),
    ]
    assert found.cells[1].told.startswith("2 batches, inputs 4 to 7, running")
