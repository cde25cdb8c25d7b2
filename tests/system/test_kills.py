"""Workers, web and beat die or are stopped in the middle of a run: it ends by itself, each input recorded once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from devstack.processes import alive
from tests.system.installation import Installation, until

NUMBERS = range(600)


def launch_slow_run(installation: Installation) -> str:
    """Launch some seconds of work, in batches that take longer than the second between two checkpoints."""
    return installation.launch("square-slowly", [{"number": n, "seconds": 0.01} for n in NUMBERS], batch_size=200)


def assert_each_input_has_one_result(installation: Installation, run_uid: str) -> None:
    """Compare the run's counts, its inputs and its outputs with what was asked for."""
    run = installation.wait_for_end(run_uid)
    assert run["status"] == "SUCCEEDED", run
    assert (run["succeeded_count"], run["failed_count"], run["invalid_count"]) == (len(NUMBERS), 0, 0)
    assert run["output_count"] == len(NUMBERS)
    client = installation.client
    inputs = client.pages(f"/v1/runs/{run_uid}/inputs?limit=100")
    assert [(one["index"], one["status"], one["output_count"]) for one in inputs] == [
        (n, "SUCCEEDED", 1) for n in NUMBERS
    ]
    assert client.outputs(run_uid) == [{"number": n, "square": n * n} for n in NUMBERS]


def unrecorded(installation: Installation, run_uid: str) -> int:
    """Return how many executions have begun that no checkpoint has recorded. For processes that stand still."""
    recorded = installation.status(run_uid)["succeeded_count"]
    assert recorded < len(NUMBERS), "the run ended before it was disturbed"
    return len(installation.executions(run_uid)) - recorded


def test_a_child_and_then_the_whole_worker_are_killed(breakable: Installation) -> None:
    run_uid = launch_slow_run(breakable)
    breakable.wait_for_executions(run_uid, 150)
    breakable.signal("worker-runs", signal.SIGSTOP)
    lost = unrecorded(breakable, run_uid)
    victim = breakable.executions(run_uid)[-1].pid
    os.kill(victim, signal.SIGKILL)
    breakable.signal("worker-runs", signal.SIGCONT)

    breakable.wait_for_executions(run_uid, 350)
    breakable.signal("worker-runs", signal.SIGSTOP)
    lost += unrecorded(breakable, run_uid)
    breakable.kill("worker-runs")
    assert breakable.status(run_uid)["status"] == "RUNNING"
    breakable.start("worker-runs")

    assert_each_input_has_one_result(breakable, run_uid)
    executions = breakable.executions(run_uid)
    assert {one.index for one in executions} == set(NUMBERS)
    again = len(executions) - len(NUMBERS)
    assert 0 <= again <= lost
    # What was recorded before a kill is not executed again, so nothing runs more often than there were kills.
    assert max(Counter(one.index for one in executions).values()) <= 3
    assert {one.attempt for one in executions} == {1}
    # The child that took the dead one's place left its parent's connection alone.
    assert "heartbeat_not_written" not in breakable.log("worker-runs").read_text()


def test_a_process_that_wakes_after_its_lease_records_nothing_twice(breakable: Installation) -> None:
    run_uid = launch_slow_run(breakable)
    sleeper = breakable.wait_for_executions(run_uid, 100)[-1].pid
    os.kill(sleeper, signal.SIGSTOP)
    begun = {one.index for one in breakable.executions(run_uid) if one.pid == sleeper}
    try:
        until(lambda: any(one.index in begun and one.pid != sleeper for one in breakable.executions(run_uid)),
              breakable.logs)  # fmt: skip
    finally:
        os.kill(sleeper, signal.SIGCONT)
    assert_each_input_has_one_result(breakable, run_uid)


def test_processes_that_stand_still_for_good_are_replaced(shared: Installation) -> None:
    """All of a worker's processes do, so nobody but the worker sees to it."""
    run_uid = launch_slow_run(shared)
    shared.wait_for_executions(run_uid, 100)
    sleepers = shared.children("worker-runs")
    for sleeper in sleepers:
        os.kill(sleeper, signal.SIGSTOP)
    assert_each_input_has_one_result(shared, run_uid)
    assert not any(alive(sleeper) for sleeper in sleepers)


@pytest.mark.parametrize("whom", ["its parent process", "all its processes"])
def test_a_worker_that_is_stopped_politely_loses_nothing(breakable: Installation, whom: str) -> None:
    run_uid = launch_slow_run(breakable)
    breakable.wait_for_executions(run_uid, 100)
    if whom == "all its processes":  # as systemd does
        breakable.signal("worker-runs", signal.SIGTERM)
    breakable.stop("worker-runs")
    assert unrecorded(breakable, run_uid) == 0
    breakable.start("worker-runs")
    assert_each_input_has_one_result(breakable, run_uid)
    assert len(breakable.executions(run_uid)) == len(NUMBERS)


def test_a_worker_that_is_stopped_does_not_wait_for_a_long_input(breakable: Installation) -> None:
    run_uid = breakable.launch("square-slowly-once", [{"number": 3, "seconds": 50}])
    breakable.wait_for_executions(run_uid, 1)
    breakable.stop("worker-runs")
    assert breakable.status(run_uid)["progress"] == 0
    assert breakable.client.get(f"/v1/runs/{run_uid}/inputs").json()[0]["status"] == "QUEUED"  # handed back
    breakable.start("worker-runs")
    assert breakable.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    assert len(breakable.executions(run_uid)) == 2


def test_the_web_is_restarted_in_the_middle(breakable: Installation) -> None:
    run_uid = launch_slow_run(breakable)
    breakable.wait_for_executions(run_uid, 50)
    breakable.kill("web")
    breakable.start("web")
    assert_each_input_has_one_result(breakable, run_uid)
    assert len(breakable.executions(run_uid)) == len(NUMBERS)


def test_beat_comes_late(breakable: Installation) -> None:
    breakable.kill("beat")
    at_once = breakable.launch("square", [{"number": 1}])
    start_after = datetime.now(UTC) + timedelta(seconds=1)
    later = breakable.launch("square", [{"number": 2}], start_after=start_after.isoformat())
    assert breakable.wait_for_end(at_once)["status"] == "SUCCEEDED"  # the doorbell is enough
    breakable.start("beat")
    assert breakable.wait_for_end(later)["status"] == "SUCCEEDED"
