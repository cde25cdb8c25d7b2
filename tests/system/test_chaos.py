"""Processes die, stand still and are stopped, and the broker and the database go away and come back, in every way there
is, one after the other and one by one, while callers go on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from tests.system import chaos
from tests.system.faults import ALL_SLOTS, PROCESS_KINDS, RUNS, STORE_KINDS, Kind
from tests.system.fires import break_in_turn, is_over, one_shots, tally
from tests.system.installation import SECOND_WORKER, Installation
from tests.system.invariants import violations
from tests.system.report import IN_FLIGHT, INPUT_S
from tests.system.schedule import make_plan, make_plan_of_one

KINDS = {kind.name: kind for kind in PROCESS_KINDS}
WITHIN_S, SLACK_S = 5.0, 5.0  # of the contract, and of a machine that has more to do


@pytest.mark.parametrize(("kinds", "seed"), [(PROCESS_KINDS, 209), (STORE_KINDS, 101)], ids=["processes", "stores"])
def test_a_schedule_of_faults(pair: Installation, kinds: Sequence[Kind], seed: int) -> None:
    plan = make_plan(chaos.seed(seed), kinds, faults=len(kinds), every_s=2.0, inputs=1_500, launches=2 * len(kinds))
    report = chaos.unleash(plan, pair)
    print(report)
    assert report.wrong == []
    assert {effect.fault.kind for effect in report.effects} == set(kinds)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "victim"),
    [
        (KINDS["stop a worker for runs for three leases"], "worker-runs"),
        (KINDS["kill a worker for runs"], SECOND_WORKER),
        *((kind, kind.victims[0]) for kind in STORE_KINDS),
    ],
    ids=lambda one: one.name if isinstance(one, Kind) else "",
)
def test_one_fault(pair: Installation, kind: Kind, victim: str) -> None:
    report = chaos.unleash(make_plan_of_one(kind, victim), pair, quiet_s=1.0)
    print(report)
    assert report.wrong == []


@pytest.mark.parametrize("away", ["beat", "worker-system"])
def test_what_is_lost_while_nobody_looks_is_found_later(pair: Installation, away: str) -> None:
    """A worker is killed while the sweep is dead: its batches wait, and go on when there is a sweep again."""
    numbers = range(600)
    run_uid = pair.launch("square-slowly", [{"number": n, "seconds": INPUT_S} for n in numbers], batch_size=150)
    pair.wait_for_executions(run_uid, 100)
    pair.kill(away)
    for worker in RUNS:
        pair.kill(worker)
    pair.start(*RUNS)
    assert pair.status(run_uid)["status"] == "RUNNING"
    pair.start(away)
    assert pair.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    assert violations(pair, run_uid, numbers) == []
    assert len(pair.executions(run_uid)) - len(numbers) <= ALL_SLOTS * IN_FLIGHT


def test_what_a_worker_leaves_that_is_stopped_politely_goes_on_elsewhere_soon(pair: Installation) -> None:
    """As in a deploy. There are half as many batches as slots, so that another worker has room for them."""
    numbers = range(1_000)
    run_uid = pair.launch("square-slowly", [{"number": n, "seconds": INPUT_S} for n in numbers], batch_size=500)
    last = pair.wait_for_executions(run_uid, 100)[-1]
    (stopped,) = (name for name in RUNS if last.pid in pair.children(name))
    pids = set(pair.children(stopped))
    asked_at = time.time()
    pair.stop(stopped)
    assert pair.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    assert violations(pair, run_uid, numbers) == []

    executions = pair.executions(run_uid)
    assert len(executions) == len(numbers), "an input was executed more than once"
    left = {one.index // 500 for one in executions if one.pid in pids and one.at > asked_at}
    assert left, "the worker had nothing in hand"
    for batch in left:
        of_batch = [one for one in executions if one.index // 500 == batch and one.at > asked_at]
        elsewhere = min(one.at for one in of_batch if one.pid not in pids)
        print(f"batch {batch} goes on after {elsewhere - asked_at:.1f} s")
        assert elsewhere - asked_at < WITHIN_S + SLACK_S


def test_each_process_is_killed_around_due_times(pair: Installation) -> None:
    due = one_shots(pair, 40, first_s=1.0, every_s=0.25)
    names = ("kill beat", "kill the broker", "kill the system worker", "restart the database at once")
    break_in_turn(pair, names, first_s=2.0, every_s=2.5)
    chaos.tend(pair, lambda: is_over(pair, due), 90)
    found = tally(pair, due)
    print(found)
    assert (found.fires, found.lost, found.doubles, found.unfinished) == (40, [], [], 0), found
