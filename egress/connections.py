"""urllib3's connections, over sockets that we have connected and with a bound on what stands before a body."""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import logging
import os
import socket
import ssl
import threading
import time
from typing import Any

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection

from egress.deadline import Deadline
from egress.errors import BadAnswer, ConnectFailed, EgressError, TlsFailed
from egress.urls import Target

MAX_TOGETHER_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024
"""Of status line and headers, interim answers included. http.client adds a limit of 100 headers."""

# Their warnings quote URLs, which may hold secrets, and are for whoever answers to bring about.
for _name in ("urllib3.connection", "urllib3.response"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def default_tls() -> ssl.SSLContext:
    """Return how https is spoken: TLS 1.2 or newer, the name verified.

    Trusted are certifi's authorities, because slim images have none of their own, and the system's, because that is
    where operators add theirs.
    """
    with _making_tls:  # reading the authorities takes a while: fifty threads that begin together need not do it each
        return _default_tls()


@functools.cache
def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _renew_lock() -> None:
    global _making_tls
    _making_tls = threading.Lock()


_making_tls: threading.Lock
_renew_lock()
# The thread that holds it is not there in a forked process.
os.register_at_fork(after_in_child=_renew_lock)


class _Head(io.BufferedReader):
    """What is read of a connection, with a bound on the lines."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.left: int | None = MAX_HEAD_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if self.left is not None:
            self.left -= len(line)
            if self.left < 0:
                raise BadAnswer(f"The headers of the answer have more than {MAX_HEAD_BYTES} bytes.")
        return line


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = self._head = _Head(self.fp.detach())

    def begin(self) -> None:
        super().begin()
        self._head.left = None  # the lines of a chunked body are as many as it has chunks


class Connection(HTTPConnection):
    """A connection over a socket that is already connected; it never opens another."""

    response_class = _BoundedResponse
    auto_open = 0

    def __init__(self, target: Target, connected: socket.socket, **options: Any) -> None:
        super().__init__(target.host, target.port, **options)
        self.origin = target.origin
        self.opened_at = time.monotonic()
        self._connected = connected
        self._held: list[bytes] | None = None

    def _new_conn(self) -> socket.socket:
        return self._connected

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request, its head and a small body in one packet: the receiver wakes for it once."""
        self._held = []
        try:
            super().request(*args, **options)
        finally:
            pieces, self._held = self._held, None
        if sum(map(len, pieces)) <= MAX_TOGETHER_BYTES:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self.send(piece)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing came since the last answer: neither an end nor bytes that nobody asked for."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return False
        return self.is_connected


class TlsConnection(Connection, HTTPSConnection):
    """Likewise, with TLS on it; the certificate must be for the target's host, whatever address that is at."""


def open_on(connected: socket.socket, target: Target, tls: ssl.SSLContext | None, deadline: Deadline) -> Connection:
    """Return a connection on a socket, after the TLS handshake where there is one; `tls` has its default.

    Raises TlsFailed, ConnectFailed or TimedOut; the socket is then closed.
    """
    if target.scheme == "https":
        connection: Connection = TlsConnection(target, connected, ssl_context=tls or default_tls())
    else:
        connection = Connection(target, connected)
    with contextlib.ExitStack() as undo:
        undo.callback(connected.close)
        undo.callback(connection.close)
        try:
            connected.settimeout(deadline.remaining_s())
            connection.connect()
        except OSError as error:
            deadline.remaining_s()
            raise _handshake_failure(error, target, deadline) from error
        undo.pop_all()
    return connection


def _handshake_failure(error: OSError, target: Target, deadline: Deadline) -> EgressError:
    match error:
        case TimeoutError():
            return deadline.passed()
        case ssl.SSLCertVerificationError():
            return TlsFailed(f"{target.host} did not prove to be itself: {error.verify_message}.")
        case ssl.SSLError():
            return TlsFailed(f"No encryption could be agreed on with {target.host}: {error.reason}.")
    return ConnectFailed(f"{target.host} closed the connection while encryption was agreed on.")
