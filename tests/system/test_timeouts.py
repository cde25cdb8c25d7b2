"""Inputs past their time limit fail alone, also where only a new process is rid of what still runs."""

from __future__ import annotations

import pytest

from tests.system.installation import LEASE_SECONDS, Installation

STUCK = 7


@pytest.mark.parametrize("action", ["square-in-threads", "square-on-a-loop"])
def test_one_stuck_input_fails_and_the_others_succeed(shared: Installation, action: str) -> None:
    numbers = range(40)
    inputs = [{"number": n, "seconds": 1000 if n == STUCK else 0.01} for n in numbers]
    run_uid = shared.launch(action, inputs, batch_size=10)
    run = shared.wait_for_end(run_uid)
    assert (run["status"], run["succeeded_count"], run["failed_count"]) == ("PARTIAL_SUCCEEDED", 39, 1)
    failed = shared.client.get(f"/v1/runs/{run_uid}/inputs?status=FAILED").json()
    assert [(one["index"], one["last_error"]["label"]) for one in failed] == [(STUCK, "TIMEOUT")]
    assert [one["number"] for one in shared.client.outputs(run_uid)] == [n for n in numbers if n != STUCK]
    assert sorted(one.index for one in shared.executions(run_uid)) == list(numbers)


def test_a_process_with_a_stuck_thread_is_replaced(shared: Installation) -> None:
    first = shared.launch("square-in-threads", [{"number": 1, "seconds": 1000}])
    assert shared.wait_for_end(first)["status"] == "FAILED"
    second = shared.launch("square-in-threads", [{"number": 2}])
    assert shared.wait_for_end(second)["status"] == "SUCCEEDED"
    stuck, fresh = shared.executions(first), shared.executions(second)
    assert [len(stuck), len(fresh)] == [1, 1]
    assert stuck[0].pid != fresh[0].pid


def test_a_long_input_keeps_its_lease(shared: Installation) -> None:
    run_uid = shared.launch("square-slowly", [{"number": 3, "seconds": 2.5 * LEASE_SECONDS}])
    assert shared.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    assert len(shared.executions(run_uid)) == 1
