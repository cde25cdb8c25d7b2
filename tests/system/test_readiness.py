"""What `/readyz` says while parts are missing, and what the database's absence costs: time, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.system.installation import Client, Installation, until

ERROR_KEYS = {"message", "error_label", "error_scope", "status_code", "params", "error_ref"}
BODY = {"inputs": [{"number": 3}]}


@contextmanager
def database_away(installation: Installation) -> Iterator[None]:
    database = installation.servers.postgres
    assert database is not None
    database.stop()
    assert database.pid() is None
    try:
        yield
    finally:
        database.start()


def readyz(client: Client) -> tuple[int, dict[str, Any]]:
    answer = client.get("/readyz")
    return answer.status_code, answer.json()


def test_without_workers_launches_are_stored_and_readyz_says_who_is_missing(web_only: Installation) -> None:
    not_seen = {"ok": False, "count": 0, "age_s": None}
    status, body = readyz(web_only.client)
    assert status == 200  # launches can be stored
    assert body["database"]["ok"]
    assert body["broker"]["ok"]
    assert body["workers"] == dict.fromkeys(("live", "runs", "webhooks", "system"), not_seen)
    assert body["beat"] == not_seen
    run_uid = web_only.launch("square", [{"number": 3}])
    assert web_only.status(run_uid)["status"] == "QUEUED"

    web_only.restore()
    _, body = readyz(web_only.client)
    seen = [*body["workers"].values(), body["beat"]]
    assert [one["count"] for one in seen] == [1, 1, 1, 1, 1]
    assert web_only.wait_for_end(run_uid)["status"] == "SUCCEEDED"


def test_everything_comes_back_with_the_database(breakable: Installation) -> None:
    client = breakable.client
    processes = ("web", "worker-live", "worker-runs", "worker-system", "beat")
    pids = [breakable.pid(name) for name in processes]
    run_uid = breakable.launch("square-slowly", [{"number": n, "seconds": 0.01} for n in range(300)], batch_size=100)
    breakable.wait_for_executions(run_uid, 50)
    with database_away(breakable):
        for name in processes[1:]:
            until_log_says(breakable, name, "heartbeat_not_written")
        status, body = readyz(client)
        assert (status, body["status"], body["database"]["ok"]) == (503, "unavailable", False)
        assert client.get("/healthz").status_code == 200
        for answer in (
            client.post("/v1/actions/square/async", json=BODY),
            client.get("/v1/runs"),
            client.get(f"/v1/runs/{run_uid}/outputs?format=csv"),
            client.get("/readyz"),
        ):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
        refused = client.post("/v1/actions/square/async", json=BODY)
        assert refused.json().keys() == ERROR_KEYS
        assert (refused.json()["error_label"], refused.json()["status_code"]) == ("UNAVAILABLE", 503)
        assert refused.json()["error_ref"] == refused.headers["X-Request-Id"]

    until(lambda: readyz(client)[0] == 200, lambda: f"{readyz(client)}\n{breakable.logs()}")
    launched_after = breakable.launch("square", [{"number": 3}])
    assert breakable.wait_for_end(launched_after)["status"] == "SUCCEEDED"
    assert breakable.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    assert breakable.client.outputs(run_uid) == [{"number": n, "square": n * n} for n in range(300)]
    assert client.pages("/v1/runs?action_name=square&status=CREATED,QUEUED,RUNNING") == []
    assert [breakable.pid(name) for name in processes] == pids
    assert all(breakable.is_up(name) for name in processes)
    _, body = readyz(client)
    assert body["beat"]["ok"]


def until_log_says(installation: Installation, name: str, words: str) -> None:
    log = installation.log(name)
    until(lambda: words in log.read_text(), installation.logs)


def test_health_needs_no_key(client: Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = requests.get(client.url + path, timeout=10)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
