"""Two versions of the workers side by side: one that does not have an action leaves it to the others."""

from __future__ import annotations

import time

from tests.system.installation import Installation

URLS = [{"url": f"https://example.org/{n}"} for n in range(20)]
NUMBERS = range(1_000)


def launch_slow_run(installation: Installation) -> str:
    inputs = [{"number": n, "seconds": 0.01} for n in NUMBERS]
    return installation.launch("square-slowly", inputs, batch_size=20)


def test_a_run_is_executed_by_those_that_have_its_action(deploying: Installation) -> None:
    run_uids = [launch_slow_run(deploying), deploying.launch("inspect-url", URLS, batch_size=1)]
    for run_uid in run_uids:
        assert deploying.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    executions = deploying.executions(run_uids[0])
    assert [one.index for one in sorted(executions, key=lambda one: one.index)] == list(NUMBERS)
    inputs = deploying.client.pages(f"/v1/runs/{run_uids[0]}/inputs?limit=100")
    assert {(one["status"], one["retry_count"]) for one in inputs} == {("SUCCEEDED", 0)}


def test_it_waits_while_nobody_has_its_action_and_holds_nobody_up(deploying: Installation) -> None:
    run_uid = launch_slow_run(deploying)
    deploying.wait_for_executions(run_uid, 50)
    deploying.stop("worker-runs")
    recorded = deploying.status(run_uid)["succeeded_count"]
    assert 0 < recorded < len(NUMBERS)
    for _ in range(3):
        assert deploying.wait_for_end(deploying.launch("inspect-url", URLS))["status"] == "SUCCEEDED"
    time.sleep(1)  # the sweep rings for what nobody takes, and is heard by those who have nothing to do
    waiting = deploying.status(run_uid)
    assert (waiting["status"], waiting["succeeded_count"], waiting["failed_count"]) == ("RUNNING", recorded, 0)

    deploying.start("worker-runs")
    run = deploying.wait_for_end(run_uid)
    assert (run["status"], run["succeeded_count"]) == ("SUCCEEDED", len(NUMBERS))
    assert deploying.client.outputs(run_uid) == [{"number": n, "square": n * n} for n in NUMBERS]


def test_a_live_call_is_taken_by_those_that_have_its_action(deploying: Installation) -> None:
    for number in range(4):
        answer = deploying.client.post("/v1/actions/square/live", json={"input": {"number": number}})
        assert (answer.status_code, answer.json()) == (200, {"number": number, "square": number**2})
