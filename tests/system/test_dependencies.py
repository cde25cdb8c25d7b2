"""Runs that depend on others, on real processes: they go on by themselves, in their order."""

from __future__ import annotations

from typing import Any

from tests.system.installation import Installation


def test_a_diamond_ends_in_its_order_without_an_operator(shared: Installation) -> None:
    client = shared.client

    def launch(action: str, *others: str) -> str:
        numbers = [{"number": n} | ({"seconds": 0.05} if action == "square-slowly" else {}) for n in range(4)]
        return shared.launch(action, numbers, batch_size=2, depends_on=list(others))

    top = launch("square-when-told")  # it must not end before the others wait for it
    left, right = launch("square", top), launch("square-slowly", top)
    bottom = launch("square", left, right)
    behind = launch("square", bottom)
    assert shared.status(bottom)["status"] == "BLOCKED"
    assert client.get(f"/v1/runs/{bottom}").json()["depends_on"] == [left, right]
    (shared.folder / "told").write_text(top)

    shared.wait_for_end(behind)
    runs: dict[str, Any] = {uid: client.get(f"/v1/runs/{uid}").json() for uid in (top, left, right, bottom, behind)}
    for uid, run in runs.items():
        assert (run["status"], run["last_error"], run["succeeded_count"]) == ("SUCCEEDED", None, 4)
        assert sorted(one.index for one in shared.executions(uid)) == [0, 1, 2, 3]
        for other in run["depends_on"]:
            assert runs[other]["finished_at"] <= run["started_at"]
            assert [line["to_status"] for line in client.get(f"/v1/runs/{uid}/timeline").json()] == [
                "CREATED", "BLOCKED", "QUEUED", "RUNNING", "SUCCEEDED",
            ]  # fmt: skip


def test_a_failure_is_told_down_the_chain_and_mended(shared: Installation) -> None:
    client = shared.client
    first = shared.launch("refuse-odd", [{"number": 1}])
    second = shared.launch("square", [{"number": 2}], depends_on=[first])
    third = shared.launch("square", [{"number": 3}], depends_on=[second])
    for uid, other in ((second, first), (third, second)):
        run = shared.wait_for(uid, lambda run, uid=uid: client.get(f"/v1/runs/{uid}").json()["last_error"] is not None)
        assert (run["status"], run["last_error"]["label"]) == ("BLOCKED", "DEPENDENCY_FAILED")
        assert run["last_error"]["params"]["run_uid"] == other

    assert client.request("DELETE", f"/v1/runs/{first}").status_code == 204
    for uid in (second, third):
        run = shared.wait_for_end(uid)
        assert (run["status"], run["invalid_count"], run["progress"]) == ("INVALID", 1, 1)
        assert shared.executions(uid) == []
