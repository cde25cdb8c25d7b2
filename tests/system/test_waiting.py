"""Runs that wait for a time: SCHEDULED, with no slot held meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.system.installation import Installation


def test_a_run_starts_after_its_time(shared: Installation) -> None:
    start_after = datetime.now(UTC) + timedelta(seconds=3)
    run_uid = shared.launch("square", [{"number": 3}], start_after=start_after.isoformat())
    waiting = shared.status(run_uid)
    assert waiting["status"] == "SCHEDULED"
    assert datetime.fromisoformat(waiting["postponed_until"]) == start_after
    assert shared.client.get(f"/v1/runs/{run_uid}/inputs").json()[0]["status"] == "SCHEDULED"
    run = shared.wait_for_end(run_uid)
    assert run["status"] == "SUCCEEDED"
    assert datetime.fromisoformat(run["started_at"]) >= start_after
    assert run["postponed_until"] is None


def test_a_thousand_inputs_wait_side_by_side(shared: Installation) -> None:
    """Two retries of two seconds each: one after the other that would take more than an hour on the slots."""
    inputs = [{"number": n, "seconds": 2} for n in range(1_000)]
    run = shared.wait_for_end(shared.launch("square-at-third-try", inputs))
    assert (run["status"], run["succeeded_count"], run["retry_count"]) == ("SUCCEEDED", 1_000, 2_000)
    took = datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["started_at"])
    assert timedelta(seconds=4) <= took < timedelta(seconds=100)  # far from 4,000
    timeline = shared.client.get(f"/v1/runs/{run['uid']}/timeline").json()
    reasons = {one["reason"] for one in timeline if one["to_status"] == "SCHEDULED"}
    assert reasons == {"every input left waits to be tried again"}


def test_inputs_that_wait_for_a_retry_hold_no_slot(shared: Installation) -> None:
    """The first run has a batch for each slot, and another run takes one while all its inputs wait."""
    inputs = [{"number": n, "seconds": 4} for n in range(200)]
    run_uid = shared.launch("square-at-second-try", inputs, batch_size=100)
    waiting = shared.wait_for(run_uid, lambda run: run["status"] == "SCHEDULED")
    assert datetime.fromisoformat(waiting["postponed_until"]) > datetime.fromisoformat(waiting["started_at"])
    one = shared.client.get(f"/v1/runs/{run_uid}/inputs?limit=1").json()[0]
    assert (one["status"], one["retry_count"]) == ("SCHEDULED", 1)
    other = shared.wait_for_end(shared.launch("square", [{"number": n} for n in range(50)]))
    run = shared.wait_for_end(run_uid)

    assert (other["status"], run["status"]) == ("SUCCEEDED", "SUCCEEDED")
    assert (run["succeeded_count"], run["retry_count"]) == (200, 200)
    timeline = shared.client.get(f"/v1/runs/{run_uid}/timeline").json()
    moves = [one["to_status"] for one in timeline]
    assert moves[:4] == ["CREATED", "QUEUED", "RUNNING", "SCHEDULED"]
    assert moves[-2:] == ["RUNNING", "SUCCEEDED"]
    assert other["finished_at"] < next(one["at"] for one in timeline if one["from_status"] == "SCHEDULED")
    executions = shared.executions(run_uid)
    assert sorted((one.index, one.attempt) for one in executions) == [(n, a) for n in range(200) for a in (1, 2)]
    assert shared.client.outputs(run_uid) == [{"number": n, "square": n * n} for n in range(200)]
