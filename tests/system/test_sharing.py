"""Who gets the workers: turns between workspaces, and limits of actions that hold over all processes."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from tests.system.installation import Client, Installation

RUNS_OF_A, INPUTS_OF_A = 20, 500


def test_one_input_is_served_beside_hundreds_of_batches(breakable: Installation) -> None:
    """A has 20 runs of some seconds each; B comes later with one input, and waits for about a batch's time."""
    key = breakable.manage("create_key", "--workspace", "Others", "--email", "bob@example.com").stdout.strip()
    inputs = [{"number": n, "seconds": 0.002} for n in range(INPUTS_OF_A)]
    runs = [breakable.launch("square-slowly", inputs) for _ in range(RUNS_OF_A)]
    breakable.wait_for_executions(runs[0], 1)
    other = Client(breakable.client.url, key)
    before = len(breakable.trace.read_text().splitlines())
    answer = other.post("/v1/actions/square/async", json={"inputs": [{"number": 1}]})
    run_uid = answer.json()["run_uid"]
    (mine,) = breakable.wait_for_executions(run_uid, 1)
    lines = breakable.trace.read_text().splitlines()
    of_a = sum(line.startswith(tuple(runs)) for line in lines)
    served_before = next(n for n, line in enumerate(lines) if line.startswith(run_uid)) - before
    # Each of two processes is in the middle of a slice of two seconds, at most.
    assert served_before < 2 * 2 / 0.002
    assert of_a < RUNS_OF_A * INPUTS_OF_A / 2
    assert mine.attempt == 1
    for uid in runs:
        breakable.client.post(f"/v1/runs/{uid}/cancel")


def test_runs_of_one_workspace_take_turns(breakable: Installation) -> None:
    """A short run behind a long one does not wait for its end."""
    long = breakable.launch("square-slowly", [{"number": n, "seconds": 0.01} for n in range(3_000)])
    breakable.wait_for_executions(long, 1)
    short = breakable.wait_for_end(breakable.launch("square", [{"number": n} for n in range(10)]))
    assert short["status"] == "SUCCEEDED"
    assert breakable.status(long)["status"] == "RUNNING"
    breakable.client.post(f"/v1/runs/{long}/cancel")


def calls_of(installation: Installation, run_uid: str) -> list[dict[str, Any]]:
    return sorted(installation.client.outputs(run_uid), key=lambda call: call["began_at"])


def test_no_more_batches_at_once_than_the_action_allows(breakable: Installation) -> None:
    inputs = [{"number": n, "seconds": 0.02} for n in range(60)]
    runs = [breakable.launch("time-one-at-once", inputs, batch_size=5) for _ in range(3)]
    ended = [breakable.wait_for_end(uid) for uid in runs]
    assert [run["status"] for run in ended] == ["SUCCEEDED"] * 3
    calls = sorted((one for uid in runs for one in calls_of(breakable, uid)), key=lambda call: call["began_at"])
    assert all(one["ended_at"] <= after["began_at"] for one, after in pairwise(calls))
    assert len({one.pid for uid in runs for one in breakable.executions(uid)}) == 2  # both processes had their turns


def test_a_run_behind_a_full_action_is_blocked_and_goes_on(breakable: Installation) -> None:
    first = breakable.launch("time-one-at-once", [{"number": 1, "seconds": 6}])
    breakable.wait_for_executions(first, 1)
    second = breakable.launch("time-one-at-once", [{"number": 2}])
    blocked = breakable.wait_for(second, lambda run: run["status"] == "BLOCKED")
    assert blocked["postponed_until"] is None
    run = breakable.wait_for_end(second)
    assert (run["status"], run["last_error"]) == ("SUCCEEDED", None)
    assert breakable.status(first)["status"] == "SUCCEEDED"


def test_a_rate_holds_over_all_processes(breakable: Installation) -> None:
    runs = [breakable.launch("time-at-a-rate", [{"number": n} for n in range(50)], batch_size=10) for _ in range(2)]
    ended = [breakable.wait_for_end(uid) for uid in runs]
    assert [run["status"] for run in ended] == ["SUCCEEDED"] * 2
    began = sorted(one["began_at"] for uid in runs for one in calls_of(breakable, uid))
    in_a_second = [sum(at <= other < at + 1 for other in began) for at in began]
    assert max(in_a_second) <= 20
    assert began[-1] - began[0] < 30  # it takes five seconds, where nothing is in the way


def test_a_run_whose_rate_is_used_up_says_until_when(breakable: Installation) -> None:
    run_uid = breakable.launch("time-a-few-an-hour", [{"number": n} for n in range(10)])
    run = breakable.wait_for(run_uid, lambda run: run["status"] == "BLOCKED")
    assert (run["succeeded_count"], run["last_error"]) == (6, None)
    wait = datetime.fromisoformat(run["postponed_until"]) - datetime.fromisoformat(run["started_at"])
    assert timedelta(minutes=55) < wait < timedelta(minutes=65)
    assert breakable.client.post(f"/v1/runs/{run_uid}/cancel").json()["status"] == "STOPPED"


@pytest.mark.parametrize("state", ["paused = true", "enabled = false"], ids=["paused", "off"])
def test_an_action_that_staff_stop_in_the_middle(breakable: Installation, state: str) -> None:
    def set_action(change: str) -> None:
        with psycopg.connect(breakable.environment["DATABASE_URL"], autocommit=True) as own:
            own.execute(f"UPDATE actions_action SET {change} WHERE name = 'square-slowly'")

    run_uid = breakable.launch("square-slowly", [{"number": n, "seconds": 0.02} for n in range(600)])
    breakable.wait_for_executions(run_uid, 1)
    set_action(state)
    try:
        blocked = breakable.wait_for(run_uid, lambda run: run["status"] == "BLOCKED")
        assert 0 < blocked["succeeded_count"] < 600
        assert blocked["last_error"]["label"] in ("ACTION_PAUSED", "ACTION_SWITCHED_OFF")
        inputs = breakable.client.get(f"/v1/runs/{run_uid}/inputs?status=BLOCKED&limit=1").json()
        assert inputs[0]["status"] == "BLOCKED"
    finally:
        set_action("paused = false, enabled = true")
    run = breakable.wait_for_end(run_uid)
    assert (run["status"], run["succeeded_count"], run["last_error"]) == ("SUCCEEDED", 600, None)
    assert len(breakable.executions(run_uid)) == 600


@pytest.mark.parametrize("action", ["time-on-a-loop", "time-in-threads"])
def test_concurrency_pays(breakable: Installation, action: str) -> None:
    """200 inputs that wait 100 ms each, 50 at once: one after the other, that is 20 seconds of waiting."""
    run_uid = breakable.launch(action, [{"number": n, "seconds": 0.1} for n in range(200)], batch_size=200)
    run = breakable.wait_for_end(run_uid)
    calls = calls_of(breakable, run_uid)
    assert run["status"] == "SUCCEEDED"
    assert sorted(one["number"] for one in calls) == list(range(200))
    at_once = [sum(one["began_at"] <= call["began_at"] < one["ended_at"] for one in calls) for call in calls]
    assert 40 < max(at_once) <= 50
    sequential = sum(one["ended_at"] - one["began_at"] for one in calls)
    assert calls[-1]["ended_at"] - calls[0]["began_at"] < sequential / 10
    assert len(breakable.executions(run_uid)) == 200
