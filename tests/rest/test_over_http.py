"""Bodies as clients really send them, byte by byte, to a real gunicorn over a socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1024 * 1024


class OverSocket(HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("here", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = str(tmp_path_factory.mktemp("s") / "web.sock")
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--worker-class=gthread", "--threads=6"]
    process = subprocess.Popen(
        [*command, f"--bind=unix:{path}", "--chdir", str(ROOT), "--timeout=60", "tests.rest.served:application"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    try:
        for _ in range(300):
            if process.poll() is not None or Path(path).exists():
                break
            time.sleep(0.1)
        assert Path(path).exists(), "gunicorn did not start"
        yield path
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def connected(server: str) -> Iterator[OverSocket]:
    connection = OverSocket(server)
    try:
        yield connection
    finally:
        connection.close()


def answer_of(response: HTTPResponse) -> tuple[int, dict[str, object]]:
    return response.status, json.loads(response.read())


def post(server: str, body: object, *, chunked: bool = False, **headers: str) -> tuple[int, dict[str, object]]:
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    with connected(server) as connection:
        connection.request("POST", "/v1/echo", body, sent, encode_chunked=chunked)  # type: ignore[arg-type]
        return answer_of(connection.getresponse())


def raw(server: str, request: bytes) -> bytes:
    """Send bytes, say that nothing more comes, and return all that comes back."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(20)
        wire.connect(server)
        wire.sendall(request)
        wire.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: wire.recv(65536), b""))


def text_of(size: int) -> bytes:
    return b'{"text": "' + b"x" * (size - 12) + b'"}'


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [100, 2 * MEGABYTE, 3 * MEGABYTE])
def test_a_body_arrives_whole(server: str, chunked: bool, size: int) -> None:
    body = text_of(size)
    sent = (body[start : start + 100_000] for start in range(0, size, 100_000)) if chunked else body
    headers = {"Transfer_Encoding": "chunked"} if chunked else {}
    assert post(server, sent, chunked=chunked, **headers) == (200, {"text": "x" * 10, "length": size - 12})


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413(server: str, chunked: bool) -> None:
    body = text_of(3 * MEGABYTE + 1)
    sent = iter([body]) if chunked else body
    headers = {"Transfer_Encoding": "chunked"} if chunked else {}
    status, answer = post(server, sent, chunked=chunked, **headers)
    assert status == 413
    assert answer["error_label"] == "PAYLOAD_TOO_LARGE"
    assert answer["params"] == {"limit": 3 * MEGABYTE, "setting": "RUNYARD_MAX_BODY_BYTES"}


def test_an_announced_length_over_the_limit_is_refused_unread(server: str) -> None:
    with connected(server) as connection:
        connection.putrequest("POST", "/v1/echo")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        assert answer_of(connection.getresponse())[0] == 413


@pytest.mark.parametrize("headers", [b"", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_no_body_is_an_empty_object(server: str, headers: bytes) -> None:
    end = b"0\r\n\r\n" if b"chunked" in headers else b""
    kind = b"Content-Type: application/json\r\n" if b"chunked" in headers else b""
    answer = raw(server, b"POST /v1/echo HTTP/1.1\r\nHost: here\r\n" + kind + headers + b"\r\n" + end)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\n{}" in answer


@pytest.mark.parametrize(
    "rest",
    [
        b'Content-Length: 100\r\n\r\n{"a": 1}',
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_a_body_that_breaks_off_is_400(server: str, rest: bytes) -> None:
    head = b"POST /v1/echo HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    answer = raw(server, head + rest)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"error_label":"BAD_INPUT"' in answer
    assert b"broke off" in answer


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Content_Type": "text/plain"}, "text/plain"),
        ({"Content_Type": ""}, "missing"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, "form-urlencoded"),
        ({"Content_Type": "application/json; charset=latin-1"}, "latin-1"),
        ({"Content_Encoding": "gzip"}, "gzip"),
    ],
)
def test_another_media_type_is_415(server: str, headers: dict[str, str], why: str) -> None:
    status, answer = post(server, b"{}", **headers)
    assert (status, answer["error_label"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert why in str(answer["message"])


@pytest.mark.parametrize("media_type", ["application/json; charset=UTF-8", "APPLICATION/JSON", "application/ld+json"])
def test_json_by_other_names_is_taken(server: str, media_type: str) -> None:
    assert post(server, b'{"a": [1]}', Content_Type=media_type) == (200, {"a": [1]})


def test_slow_uploads_of_large_bodies_keep_no_one_waiting(server: str) -> None:
    """The one place for a large body is free while others are still uploading theirs."""
    body = text_of(2 * MEGABYTE)
    with connected(server) as first, connected(server) as second:
        for slow in (first, second):
            slow.putrequest("POST", "/v1/echo")
            slow.putheader("Content-Type", "application/json")
            slow.putheader("Content-Length", str(len(body)))
            slow.endheaders(body[:MEGABYTE])
        assert post(server, body)[0] == 200
        for slow in (first, second):
            slow.send(body[MEGABYTE:])
            assert slow.getresponse().status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "label"),
    [
        ("GET", "/v1", 404, "NOT_FOUND"),
        ("GET", "/v1/", 404, "NOT_FOUND"),
        ("GET", "/v1/nothing", 404, "NOT_FOUND"),
        ("GET", "/v1/echo/", 404, "NOT_FOUND"),
        ("POST", "/v1/%00%ff", 404, "NOT_FOUND"),
        ("DELETE", "/v1/echo", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/v1/echo", 405, "METHOD_NOT_ALLOWED"),
        ("TRACE", "/v1/echo", 405, "METHOD_NOT_ALLOWED"),
        ("BREW", "/v1/echo", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_errors_outside_of_views_have_the_contract_body(
    server: str, method: str, path: str, status: int, label: str
) -> None:
    with connected(server) as connection:
        connection.request(method, path, headers={"X-Request-Id": "mine.1", "Accept": "text/html"})
        response = connection.getresponse()
        body = json.loads(response.read())
    assert (response.status, response.headers["Content-Type"]) == (status, "application/json")
    assert (body["error_label"], body["status_code"], body["error_ref"]) == (label, status, "mine.1")
    assert set(body) == {"message", "error_label", "error_scope", "status_code", "params", "error_ref"}
    assert response.headers["X-Request-Id"] == "mine.1"
    if status == 405:
        assert response.headers["Allow"] == "GET, POST, HEAD"
        assert body["params"] == {"allowed": ["GET", "POST", "HEAD"]}


def test_a_host_that_is_not_ours_is_told_in_json(server: str) -> None:
    answer = raw(server, b"GET /v1/echo HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"error_label":"BAD_INPUT"' in answer
    assert b"<html" not in answer.lower()


def test_head_is_get_without_its_body(server: str) -> None:
    answer = raw(server, b"HEAD /v1/echo HTTP/1.1\r\nHost: here\r\nAccept: text/html\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset*=zz'y'%80",
        f"application/json; charset*{'9' * 5000}=x",
        f"application/json{';' * 8000}",
    ],
    ids=["an encoding that there is not", "a number of thousands of digits", "thousands of parameters"],
)
def test_a_content_type_that_cannot_be_read_is_415(server: str, media_type: str) -> None:
    status, error = post(server, b"{}", **{"Content-Type": media_type})
    assert (status, error["error_label"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
