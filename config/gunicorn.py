"""gunicorn's settings. A request it cannot read never reaches Django: its own errors get the contract's body here."""

import json
import os
import socket
import struct
import uuid
from http import HTTPStatus
from typing import Any

from gunicorn import util

from config.environment import at_least, between, web_threads
from rest.errors import BadInput, InternalError
from telemetry import counting, tracing

host, port = os.environ.get("RUNYARD_BIND") or "127.0.0.1", between("PORT", 8000, 1, 65535)
bind = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
worker_class = "gthread"
workers = at_least("RUNYARD_WEB_PROCESSES", 2)
threads = web_threads()
timeout = 60
graceful_timeout = at_least("RUNYARD_WEB_STOP_SECONDS", 5)
keepalive = 15
control_socket_disable = True
limit_request_line = 8190  # a list filtered by 200 uids

# A thread waits no longer than this for a caller's next bytes, or for one to take any of an answer (a reader may pause
# in the middle of a long stream): the few threads there are must not be held by callers that fell silent.
STALLED_UPLOAD_S = at_least("RUNYARD_WEB_STALL_SECONDS", 20)
STALLED_READER_S = 300


def when_ready(server: Any) -> None:
    """Set the time limits on the listening sockets, from which each connection has them."""
    for listener in server.LISTENERS:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", STALLED_UPLOAD_S, 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", STALLED_READER_S, 0))


def post_worker_init(worker: Any) -> None:
    """Have what the process counts and traces sent on. After the fork, when the settings are read."""
    counting.start(reports_gauges=True)
    tracing.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Send what is left of it."""
    counting.stop()
    tracing.stop()


def _write_error(sock: Any, status_int: int, reason: str, mesg: str) -> None:
    request_id = uuid.uuid4().hex
    # Of gunicorn's statuses only 500 is ours; the others (414, 431, 501, 505 ...) say what the caller sent: a 400.
    error = InternalError() if status_int == 500 else BadInput(f"{reason}: {mesg}" if mesg else reason)
    body = json.dumps(error.body(request_id)).encode()
    head = (
        f"HTTP/1.1 {error.status_code} {HTTPStatus(error.status_code).phrase}\r\n"
        "Connection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)


util.write_error = _write_error
