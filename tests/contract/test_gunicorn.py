"""What gunicorn refuses before Django sees it has the contract's body, label and status."""

from __future__ import annotations

import json
import socket

import pytest

from config import gunicorn


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
