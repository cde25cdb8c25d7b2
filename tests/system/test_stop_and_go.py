"""Cancel and resume while real workers are in the middle of batches."""

from __future__ import annotations

import time

from tests.system.installation import LEASE_SECONDS, Installation

COUNTS = ("status", "succeeded_count", "failed_count", "invalid_count", "output_count", "retry_count", "progress")


def test_a_run_that_is_cancelled_in_the_middle_and_goes_on(breakable: Installation) -> None:
    numbers = range(600)
    client = breakable.client
    run_uid = breakable.launch("square-slowly", [{"number": n, "seconds": 0.01} for n in numbers], batch_size=200)
    breakable.wait_for(run_uid, lambda run: run["progress"] > 0)
    answer = client.post(f"/v1/runs/{run_uid}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "STOPPED")
    stopped = answer.json()
    assert 0 < stopped["progress"] < 1

    time.sleep(LEASE_SECONDS + 1)  # whoever was in the middle has tried to record, and the sweep has looked around
    now = client.get(f"/v1/runs/{run_uid}").json()
    assert now == stopped
    begun = len(breakable.executions(run_uid))
    time.sleep(1)
    assert len(breakable.executions(run_uid)) == begun, "the workers go on with a run that was stopped"
    inputs = client.pages(f"/v1/runs/{run_uid}/inputs?limit=100")
    statuses = [one["status"] for one in inputs]
    assert statuses.count("SUCCEEDED") == stopped["succeeded_count"]
    assert set(statuses) == {"SUCCEEDED", "STOPPED"}

    answer = client.post(f"/v1/runs/{run_uid}/resume", json={"action": "resume"})
    assert (answer.status_code, answer.json()["status"]) == (200, "SCHEDULED")
    run = breakable.wait_for(run_uid, lambda run: run["status"] not in ("SCHEDULED", "QUEUED", "RUNNING"))
    assert (run["status"], run["succeeded_count"], run["output_count"]) == ("SUCCEEDED", len(numbers), len(numbers))
    assert client.outputs(run_uid) == [{"number": n, "square": n * n} for n in numbers]
    executions = breakable.executions(run_uid)
    again = len(executions) - len(numbers)
    assert 0 <= again <= begun - stopped["succeeded_count"]

    assert client.request("DELETE", f"/v1/runs/{run_uid}").status_code == 204
    assert client.get(f"/v1/runs/{run_uid}").status_code == 404


def test_the_failed_inputs_run_again(breakable: Installation) -> None:
    client = breakable.client
    run_uid = breakable.launch("refuse-odd", [{"number": n} for n in range(10)], batch_size=3)
    assert breakable.wait_for_end(run_uid)["status"] == "PARTIAL_SUCCEEDED"
    assert client.post(f"/v1/runs/{run_uid}/resume", json={"indexes": [3, 7]}).status_code == 200
    run = breakable.wait_for_end(run_uid)
    assert (run["status"], run["succeeded_count"], run["failed_count"]) == ("PARTIAL_SUCCEEDED", 5, 5)
    calls = [one.index for one in breakable.executions(run_uid)]
    assert sorted(calls) == sorted([*range(10), 3, 7])
    failed = client.pages(f"/v1/runs/{run_uid}/inputs?limit=100&error_label=ODD")
    assert [one["index"] for one in failed] == [1, 3, 5, 7, 9]
    assert client.outputs(run_uid) == [{"number": n, "square": n * n} for n in range(0, 10, 2)]
