"""Slow and rude callers behind the shipped nginx configuration: everybody else is served as if they were not there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import nginx
from tests.system.installation import Client, Installation, free_port, until
from tests.system.rude_clients import RudeClients

pytestmark = pytest.mark.skipif(nginx.find() is None, reason="no nginx here: Debian's package `nginx` has it")

SOON_S = 1.0
ASKED = 10
TRIES = 3  # a machine may be busy with something else for a moment
STREAMS = 16  # as many of one key as the configuration lets through
LAUNCH = "/v1/actions/square/async"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def proxied(shared: Installation, tmp_path: Path) -> Iterator[Client]:
    """A caller of the shared installation who comes through nginx."""
    port = free_port()
    with nginx.proxy(tmp_path, port=port, to=shared.port):
        client = Client(f"http://127.0.0.1:{port}", shared.key)
        until(lambda: is_up(client), (tmp_path / "nginx.log").read_text)
        yield client


def is_up(client: Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except OSError:
        return False


def slowest(client: Client, *paths: str) -> float:
    """Ask for each path some times, on a connection of its own each, and return the seconds of the slowest answer."""
    took = []
    for path in paths * ASKED:
        began = time.monotonic()
        assert client.get(path, headers={"Connection": "close"}).status_code == 200
        took.append(time.monotonic() - began)
    return max(took)


def run_with_large_outputs(installation: Installation) -> str:
    """Return a run whose outputs are more than all buffers on the way hold."""
    long = "a" * 8_000
    run_uid = installation.launch("inspect-url", [{"url": f"https://example.org/{long}/{n}"} for n in range(600)])
    assert installation.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    return run_uid


def test_hundreds_of_slow_callers_hold_nobody_up(shared: Installation, proxied: Client) -> None:
    run_uid = run_with_large_outputs(shared)
    port = int(proxied.url.rpartition(":")[2])
    outputs = f"/v1/runs/{run_uid}/outputs?format=ndjson"
    with RudeClients(port, shared.key) as rude:
        rude.drip_headers(200)
        rude.upload_slowly(50, LAUNCH)
        rude.stop_reading(STREAMS, outputs)
        for _ in range(TRIES):
            took = slowest(proxied, "/healthz", f"/v1/runs/{run_uid}/status")
            if took < SOON_S:
                break
        assert took < SOON_S
        assert rude.open_count == 200 + 50 + STREAMS
        assert set(rude.beginnings()) == {b"HTTP/1.1 200 OK"}
        refused = proxied.get(outputs)
        assert (refused.status_code, refused.json()["error_label"]) == (429, "LIMIT_REACHED")
        assert int(refused.headers["Retry-After"]) > 0
    until(lambda: proxied.get(outputs).status_code == 200, lambda: "the streams of those who left are still counted")


def test_bodies_that_are_refused_leave_the_connection_good(proxied: Client) -> None:
    nobody = Client(proxied.url, "nobody's key")
    for size in (10, 300_000, 3_000_000):
        for _ in range(3):
            answer = nobody.post(LAUNCH, data=b" " * size, headers=JSON)
            assert (answer.status_code, answer.json()["error_label"]) == (401, "UNAUTHORIZED")
            assert nobody.get("/healthz").status_code == 200
    assert proxied.post(LAUNCH, json={"inputs": [{"number": 2}]}).status_code == 202
