"""What is true of a run that has ended, whatever happened on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from tests.system.installation import Installation


def violations(installation: Installation, run_uid: str, numbers: Sequence[int]) -> list[str]:
    """Return what is wrong with a run that squared `numbers` and should have succeeded, in words."""
    client = installation.client
    run = client.get(f"/v1/runs/{run_uid}").json()
    count = len(numbers)
    counts = ("status", "input_count", "succeeded_count", "failed_count", "invalid_count", "output_count", "progress")
    found = []
    if [run[name] for name in counts] != ["SUCCEEDED", count, count, 0, 0, count, 1]:
        found.append(f"the run says { ({name: run[name] for name in counts}) }, {run['last_error']}")
    inputs = client.pages(f"/v1/runs/{run_uid}/inputs?limit=100")
    if [one["index"] for one in inputs] != list(range(count)):
        found.append(f"/inputs has {len(inputs)} of {count}")
    unlike = [one for one in inputs if (one["status"], one["output_count"]) != ("SUCCEEDED", 1)]
    found += [f"input {one['index']} is {one['status']}: {one['last_error']}" for one in unlike[:3]]
    outputs = client.outputs(run_uid)
    if outputs != [{"number": number, "square": number**2} for number in numbers]:
        found.append(f"/outputs has {len(outputs)} of {count}, or others, or in another order")
    moves = [one["to_status"] for one in client.get(f"/v1/runs/{run_uid}/timeline").json()]
    if moves.count("SUCCEEDED") != 1 or moves[-1] != "SUCCEEDED":
        found.append(f"the timeline is {moves}")
    executed = {one.index for one in installation.executions(run_uid)}
    if executed != set(range(count)):
        found.append(f"{len(executed)} of {count} inputs were executed")
    return [f"{run_uid}: {one}" for one in found]


def picture(installation: Installation, run_uid: str) -> Any:
    """Return all that can be seen of a run, small, to compare with what is seen later."""
    client = installation.client
    inputs = client.pages(f"/v1/runs/{run_uid}/inputs?limit=100")
    return (
        client.get(f"/v1/runs/{run_uid}").json(),
        client.get(f"/v1/runs/{run_uid}/timeline").json(),
        hashlib.sha256(repr((inputs, client.outputs(run_uid))).encode()).hexdigest(),
    )
