"""What goes wrong on the wire has the contract's body, and harms nobody else."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.system.installation import REQUEST_TIMEOUT_S, Client

ERROR_KEYS = {"message", "error_label", "error_scope", "status_code", "params", "error_ref"}
LAUNCH = "/v1/actions/square/async"
JSON = {"Content-Type": "application/json"}
TOO_LARGE = 64 * 1024 * 1024 + 1


def assert_contract_body(status: int, content_type: str, body: bytes, label: str, expected_status: int) -> None:
    assert (status, content_type) == (expected_status, "application/json"), body[:500]
    error: dict[str, Any] = json.loads(body)
    assert error.keys() == ERROR_KEYS
    assert (error["error_label"], error["status_code"]) == (label, expected_status)
    assert error["message"]
    assert error["error_ref"]


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "label"),
    [
        ("GET", "/v1/nothing", {}, 404, "NOT_FOUND"),
        ("GET", "/v1", {}, 404, "NOT_FOUND"),
        ("GET", "/v1/runs/", {}, 404, "NOT_FOUND"),
        ("GET", "/v1/runs/%00", {}, 404, "NOT_FOUND"),
        ("GET", "/v1/actions/%FF%FE", {}, 404, "NOT_FOUND"),
        ("DELETE", "/v1/runs", {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET", LAUNCH, {}, 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/v1/runs", {}, 405, "METHOD_NOT_ALLOWED"),
        ("BREW", "/v1/runs", {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/runs", {"headers": {"Host": "evil.example"}}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": [{"number": 1}', "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": [{"number": 1, "x": "\\u0000"}]}', "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": [{"number": 1, "x": "\\ud800"}]}', "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": [{"number": 1e999}]}', "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": [{"number": NaN}]}', "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": [{"number": 9' + b"9" * 40 + b"}]}", "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": ' + b"[" * 100_000, "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": "\xff\xfe"}', "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b'{"inputs": []}', "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"data": b"", "headers": JSON}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"json": {"input": {"number": 1}}}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"json": {"inputs": [{"number": 1}], "colour": "red"}}, 400, "BAD_INPUT"),
        ("POST", LAUNCH, {"json": {"inputs": [{"number": 1}], "parameters": []}}, 400, "BAD_PARAMETERS"),
        ("POST", "/v1/actions/nothing/async", {"json": {"inputs": [{}]}}, 404, "NOT_FOUND"),
        ("POST", LAUNCH, {"data": "number=1"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            "POST", LAUNCH, {"data": gzip.compress(b"{}"), "headers": JSON | {"Content-Encoding": "gzip"}},
            415, "UNSUPPORTED_MEDIA_TYPE",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(
    client: Client, method: str, path: str, options: dict[str, Any], status: int, label: str
) -> None:
    answer = client.request(method, path, **options)
    assert_contract_body(answer.status_code, answer.headers["Content-Type"], answer.content, label, status)
    assert answer.json()["error_ref"] == answer.headers["X-Request-Id"]
    assert client.get("/v1/runs?limit=1").status_code == 200  # on the same connection


def pieces(size: int) -> Iterator[bytes]:
    piece = b" " * 65_536
    for start in range(0, size, len(piece)):
        yield piece[: size - start]


def test_a_body_that_is_too_large_by_its_length(client: Client) -> None:
    answer = client.post(LAUNCH, data=b" " * TOO_LARGE, headers=JSON)
    assert_contract_body(answer.status_code, answer.headers["Content-Type"], answer.content, "PAYLOAD_TOO_LARGE", 413)
    assert "RUNYARD_MAX_BODY_BYTES" in answer.json()["message"]
    assert client.get("/v1/runs?limit=1").status_code == 200


def test_a_body_that_is_too_large_in_chunks(client: Client) -> None:
    answer = client.post(LAUNCH, data=pieces(TOO_LARGE), headers=JSON)
    assert_contract_body(answer.status_code, answer.headers["Content-Type"], answer.content, "PAYLOAD_TOO_LARGE", 413)
    assert client.get("/v1/runs?limit=1").status_code == 200


def test_a_chunked_body_is_taken(client: Client) -> None:
    answer = client.post(LAUNCH, data=iter([b'{"inputs": [{"num', b'ber": 1}]}']), headers=JSON)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"nonsense\r\n\r\n", id="no request line"),
        pytest.param(b"GET /v1/runs HTTP/9.9\r\n\r\n", id="unknown version"),
        pytest.param(b"GET /v1/runs?x=" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", id="long line"),
        pytest.param(
            b"GET /v1/runs HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * 10_000 + b"\r\n\r\n", id="long header"
        ),
        pytest.param(
            b"GET /v1/runs HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: a\r\n" * 200 + b"\r\n", id="many headers"
        ),
        pytest.param(b"GET /v1/runs HTTP/1.1\r\nHost: localhost\r\nBad Name: a\r\n\r\n", id="bad header name"),
        pytest.param(
            b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: ten\r\n\r\n", id="bad content length"
        ),
        pytest.param(
            b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            id="two lengths",
        ),
    ],
)
def test_requests_that_are_malformed_on_the_wire(client: Client, request_bytes: bytes) -> None:
    status, headers, body = on_the_wire(client, request_bytes)
    assert 400 <= status < 500
    error = json.loads(body)
    assert error.keys() == ERROR_KEYS
    assert error["status_code"] == status
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == error["error_ref"]


def test_a_slow_upload_does_not_hinder_the_others(client: Client) -> None:
    with closing(connect(client)) as slow:
        head = f"POST {LAUNCH} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {client.session.headers['X-API-Key']!s}\r\n"
        slow.sendall(head.encode() + b"Content-Type: application/json\r\nContent-Length: 28\r\n\r\n" + b'{"inputs": ')
        for _ in range(20):
            assert client.get("/v1/runs?limit=1").status_code == 200
        slow.sendall(b'[{"number": 42}]}')
        status, _, body = read_answer(slow)
    assert status == 202, body


def test_an_upload_that_breaks_off_is_forgotten(client: Client) -> None:
    with closing(connect(client)) as broken:
        head = f"POST {LAUNCH} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {client.session.headers['X-API-Key']!s}\r\n"
        broken.sendall(head.encode() + b"Content-Type: application/json\r\nContent-Length: 28\r\n\r\n" + b'{"inputs": ')
        broken.shutdown(socket.SHUT_WR)
        status, headers, body = read_answer(broken)
    assert_contract_body(status, headers["content-type"], body, "BAD_INPUT", 400)


def connect(client: Client) -> socket.socket:
    host, _, port = client.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=REQUEST_TIMEOUT_S)


def on_the_wire(client: Client, request_bytes: bytes) -> tuple[int, dict[str, str], bytes]:
    with closing(connect(client)) as wire:
        wire.sendall(request_bytes)
        return read_answer(wire)


def read_answer(wire: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers (names in lower case) and the body of one answer."""
    with wire.makefile("rb") as answer:
        status = int(answer.readline().split()[1])
        headers: dict[str, str] = {}
        while (line := answer.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, answer.read(int(headers["content-length"]))
