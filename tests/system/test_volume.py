"""Much at once: many inputs in one run, many launches side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.system.installation import Client, Installation

COUNT = 10_000
LAUNCHES = 30


def test_ten_thousand_inputs_come_back_one_by_one(shared: Installation) -> None:
    inputs = [{"number": n * 7919 % 1_000_003, "custom_data": {"row": n}} for n in range(COUNT)]
    run_uid = shared.launch("square", inputs)
    run = shared.wait_for_end(run_uid, seconds=100)
    assert (run["status"], run["succeeded_count"], run["output_count"]) == ("SUCCEEDED", COUNT, COUNT)
    outputs = shared.client.outputs(run_uid)
    assert outputs == [{"number": one["number"], "square": one["number"] ** 2} for one in inputs]
    last = shared.client.get(f"/v1/runs/{run_uid}/inputs?limit=100&offset={COUNT - 100}").json()
    assert [(one["index"], one["custom_data"]) for one in last] == [(n, {"row": n}) for n in range(COUNT - 100, COUNT)]
    assert len(shared.executions(run_uid)) == COUNT


def test_launches_side_by_side_are_all_recorded(shared: Installation) -> None:
    def launch(number: int) -> str:
        client = Client(shared.client.url, shared.key)  # a connection of its own
        body = {"inputs": [{"number": number}], "tags": ["side-by-side"], "name": str(number)}
        answer = client.post("/v1/actions/square/async", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["run_uid"]

    with ThreadPoolExecutor(LAUNCHES) as pool:
        run_uids = list(pool.map(launch, range(LAUNCHES)))
    assert len(set(run_uids)) == LAUNCHES
    for number, run_uid in enumerate(run_uids):
        assert shared.wait_for_end(run_uid)["status"] == "SUCCEEDED"
        assert shared.client.outputs(run_uid) == [{"number": number, "square": number**2}]
    listed = shared.client.pages("/v1/runs?tag=side-by-side&sort=created_at&limit=7")
    assert {one["uid"] for one in listed} == set(run_uids)
    assert len(listed) == LAUNCHES
