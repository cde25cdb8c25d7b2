"""What gunicorn refuses before Django sees it has the contract's body, label and status."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from config import gunicorn

ROOT = Path(__file__).resolve().parents[2]


def written(status: int, reason: str) -> tuple[str, dict[str, object]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        gunicorn.util.write_error(ours, status, reason, "why")
        head, _, body = theirs.recv(65536).partition(b"\r\n\r\n")
    return head.decode().splitlines()[0], json.loads(body)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "Bad Request"), (414, "URI Too Long"), (431, "Request Header Fields Too Large"), (501, "Not Implemented")],
)
def test_what_the_caller_sent_is_bad_input(status: int, reason: str) -> None:
    line, error = written(status, reason)
    assert line == "HTTP/1.1 400 Bad Request"
    assert (error["error_label"], error["status_code"], error["message"]) == ("BAD_INPUT", 400, f"{reason}: why")


def test_a_defect_of_ours_tells_nothing() -> None:
    line, error = written(500, "Internal Server Error")
    assert line == "HTTP/1.1 500 Internal Server Error"
    assert (error["error_label"], error["status_code"]) == ("INTERNAL_ERROR", 500)
    assert "why" not in str(error["message"])


def status_of_a_get(port: int) -> int | None:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/v1/echo", headers={"Host": "here"})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve a small site with our settings, one thread, and a second's patience."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "tests.rest.served:application"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PORT": str(port),
            "RUNYARD_WEB_PROCESSES": "1",
            "RUNYARD_WEB_THREADS": "1",
            "RUNYARD_WEB_STALL_SECONDS": "1",
        },
    )
    try:
        for _ in range(300):
            if process.poll() is not None or status_of_a_get(port) == 200:
                break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"GET /v1/echo HTTP/1.1\r\nHost: he", id="in its headers"),
        pytest.param(
            b"POST /v1/echo HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
            id="in its body",
        ),
    ],
)
def test_a_caller_that_falls_silent_gives_the_thread_back(port: int, begun: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
        silent.sendall(begun)
        time.sleep(0.2)  # the silent one is served first
        assert status_of_a_get(port) == 200
        if b"POST" in begun:
            assert silent.recv(100).startswith(b"HTTP/1.1 400")
