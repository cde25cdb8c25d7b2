"""What the shipped nginx configuration answers itself: the contract's body, whatever is behind it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from rest.errors import ApiError, BadInput, MethodNotAllowed, NotFound, PayloadTooLarge, Unavailable
from tests import nginx
from tests.system.installation import free_port

pytestmark = pytest.mark.skipif(nginx.find() is None, reason="no nginx here: Debian's package `nginx` has it")

STARTS_WITHIN_S = 10


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a proxy behind which nobody listens."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    with nginx.proxy(folder, port=port, to=free_port()):
        deadline = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "nginx.log").read_text()
                time.sleep(0.05)
        yield port


@pytest.mark.parametrize(
    ("method", "path", "headers", "error"),
    [
        ("GET", "/v1/runs", {}, Unavailable),
        ("GET", "/healthz", {}, Unavailable),
        ("GET", "/metrics", {}, NotFound),
        ("TRACE", "/v1/runs", {}, MethodNotAllowed),
        ("POST", "/v1/runs", {"Content-Length": str(64 * 1024 * 1024 + 1)}, PayloadTooLarge),
        ("GET", "/v1/runs", {"X-Large": "x" * 100_000}, BadInput),
        ("GET", "/v1/runs?" + "x" * 100_000, {}, BadInput),
        ("GET", "/v1/runs", {"Content-Length": "many"}, BadInput),
        ("POST", "/v1/runs", {"Transfer-Encoding": "gzip"}, BadInput),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else None,
)
def test_what_it_refuses_itself(
    port: int, method: str, path: str, headers: dict[str, str], error: type[ApiError]
) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body: dict[str, Any] = json.loads(answer.read())
    connection.close()
    assert (answer.status, answer.headers["Content-Type"]) == (error.status_code, "application/json")
    assert answer.headers["X-Request-Id"] == body["error_ref"]
    assert body["message"]
    found = {name: value for name, value in body.items() if name not in ("message", "error_ref", "params")}
    assert found == {"error_label": error.label, "error_scope": error.scope, "status_code": error.status_code}
    if error is Unavailable:
        assert int(answer.headers["Retry-After"]) > 0
    if error is PayloadTooLarge:
        assert body["params"] == {"limit": 64 * 1024 * 1024, "setting": "RUNYARD_MAX_BODY_BYTES"}


def test_a_key_in_a_query_is_not_in_its_log(tmp_path: Path) -> None:
    port = free_port()
    with nginx.proxy(tmp_path, port=port, to=free_port()):
        deadline = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < deadline:
            try:
                connection = HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("GET", "/metrics?key=very-secret", headers={"X-API-Key": "very-secret"})
                assert connection.getresponse().status == 404
                break
            except OSError:
                time.sleep(0.05)
    (line,) = (tmp_path / "access.log").read_text().splitlines()
    assert json.loads(line)["path"] == "/metrics"
    assert "very-secret" not in line
