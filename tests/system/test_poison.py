"""Inputs that kill their process, or make it deaf: each is blamed and passed, and costs its neighbours nothing."""

from __future__ import annotations

from collections import Counter

from runs.careful import MAX_DEATHS
from tests.system.installation import Installation

NUMBERS = range(40)
POISON = 7
LABELS = {
    "exit": "WORKER_LOST",
    "crash": "WORKER_LOST",
    "be killed": "WORKER_LOST",
    "hear nothing": "TIMEOUT",
    "hold the interpreter": "TIMEOUT",
}
EVERY_WAY = [("square-poison", how) for how in LABELS]
# On threads and on a loop processes are lost and cut off as everywhere: one way of each.
OTHERS = [
    (f"square-poison-{where}", how)
    for where in ("in-threads", "on-a-loop")
    for how in ("be killed", "hold the interpreter")
]


def test_poisonous_inputs_fail_and_the_others_succeed(shared: Installation) -> None:
    """All of them side by side: most of the time somebody waits until a lease is over or a process is replaced."""
    runs = {}
    for action, how in EVERY_WAY + OTHERS:
        inputs = [{"number": n, "how": how if n == POISON else None} for n in NUMBERS]
        runs[action, how] = shared.launch(action, inputs, batch_size=len(NUMBERS))
    for (action, how), run_uid in runs.items():
        shared.wait_for_end(run_uid, seconds=200)
        print(action, how)
        assert_only_the_poison_failed(shared, run_uid, LABELS[how])
    for action in {action for action, _ in runs}:
        after = shared.launch(action, [{"number": 1}])
        assert shared.wait_for_end(after)["status"] == "SUCCEEDED"


def assert_only_the_poison_failed(shared: Installation, run_uid: str, label: str) -> None:
    run = shared.client.get(f"/v1/runs/{run_uid}").json()
    assert (run["status"], run["succeeded_count"], run["failed_count"]) == ("PARTIAL_SUCCEEDED", len(NUMBERS) - 1, 1)
    shown = shared.client.pages(f"/v1/runs/{run_uid}/inputs?limit=100")
    failed = [(one["index"], one["last_error"]["label"]) for one in shown if one["status"] != "SUCCEEDED"]
    assert failed == [(POISON, label)]
    assert [one["number"] for one in shared.client.outputs(run_uid)] == [n for n in NUMBERS if n != POISON]
    executions = Counter(one.index for one in shared.executions(run_uid))
    assert set(executions) == set(NUMBERS)
    # Once among the others, and then alone.
    assert executions.pop(POISON) <= 1 + MAX_DEATHS
    assert max(executions.values()) <= 2
