"""What is true of a run that has ended, whatever happened on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from tests.system.installation import Installation
from tests.system.receiver import Arrival, Receiver


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


def callback_violations(
    installation: Installation, run_uid: str, numbers: Sequence[int], receiver: Receiver
) -> list[str]:
    """Return what is wrong with what a receiver knows of such a run, once every callback of it has arrived."""
    arrived = receiver.arrivals(run_uid)
    finals = [one for one in arrived if one.is_final]
    found = [f"{len(finals)} callbacks tell of the end"] if len(finals) != 1 else []
    found += [f"the end is told as {one.body}" for one in finals if not _is_the_end(one)]
    told = [item for one in arrived if not one.is_final for item in _items(one.body)]
    wanted = [(number, {"n": number}, [{"number": number, "square": number**2}], None) for number in numbers]
    if sorted(told, key=repr) != sorted(wanted, key=repr):
        found.append(f"callbacks tell of {len(told)} of {len(numbers)} results, or of others")
    made = installation.client.pages(f"/v1/runs/callbacks?run_uid={run_uid}&sort=created_at&limit=100")
    if sorted(one["callback_ref_uid"] for one in made) != sorted(one.ref_uid for one in arrived):
        found.append(f"{len(made)} callbacks were made, {len(arrived)} arrived")
    if finals and made[-1]["callback_ref_uid"] != finals[0].ref_uid:
        found.append("the end was not told after all others")
    found += [f"callback {one['uid']} is {one['status']}" for one in made if one["status"] != "SUCCESS"]
    return [f"{run_uid}: {one}" for one in found]


def _is_the_end(final: Arrival) -> bool:
    body = final.body
    told = (body["run"]["status"], body["run"]["batch_uid"], body["results"], body["error"])
    rest = body["items"] if "items" in body else body["input"] or body["custom_data"]
    return told == ("SUCCEEDED", None, [], None) and not rest


def _items(body: dict[str, Any]) -> list[tuple[Any, ...]]:
    items = body.get("items", [body])
    assert [result for item in items for result in item["results"]] == body["results"]
    return [(item["input"]["number"], item["custom_data"], item["results"], item["error"]) for item in items]


def picture(installation: Installation, run_uid: str) -> Any:
    """Return all that can be seen of a run, small, to compare with what is seen later."""
    client = installation.client
    inputs = client.pages(f"/v1/runs/{run_uid}/inputs?limit=100")
    return (
        client.get(f"/v1/runs/{run_uid}").json(),
        client.get(f"/v1/runs/{run_uid}/timeline").json(),
        hashlib.sha256(repr((inputs, client.outputs(run_uid))).encode()).hexdigest(),
    )
