"""Callers that take their time: headers and bodies in drips, answers that nobody reads."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

DRIP_EVERY_S = 0.5
UPLOAD_BYTES = 1_000_000
FEW_BYTES = 4096


class RudeClients:
    """Connections to one port that are kept busy by a thread until `close()`. One that is cut off comes again."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._dripping: list[tuple[bytes, socket.socket]] = []
        self._held: list[socket.socket] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drip, daemon=True)

    def __enter__(self) -> RudeClients:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for sock in [*self._held, *(sock for _, sock in self._dripping)]:
            sock.close()

    @property
    def open_count(self) -> int:
        """How many connections are held at this moment."""
        return len(self._held) + len(self._dripping)

    def drip_headers(self, count: int) -> None:
        """Begin requests whose headers come a byte at a time, and never end."""
        self._begin(count, b"GET /v1/runs HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")

    def upload_slowly(self, count: int, path: str) -> None:
        """Begin uploads, with headers that are complete and in order, of which a byte comes now and then."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {self._key}\r\n"
        self._begin(count, f"{head}Content-Type: application/json\r\nContent-Length: {UPLOAD_BYTES}\r\n\r\n".encode())

    def stop_reading(self, count: int, path: str) -> None:
        """Ask for answers, and read no more than their beginning."""
        for _ in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, FEW_BYTES)
            sock.settimeout(10)
            sock.connect(("127.0.0.1", self._port))
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {self._key}\r\n\r\n".encode())
            self._held.append(sock)

    def beginnings(self) -> Iterator[bytes]:
        """Yield the first line of each answer that nobody reads on."""
        for sock in self._held:
            yield sock.recv(FEW_BYTES).split(b"\r\n")[0]

    def _begin(self, count: int, words: bytes) -> None:
        self._dripping += [(words, self._connected(words)) for _ in range(count)]

    def _connected(self, words: bytes) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        sock.sendall(words)
        return sock

    def _drip(self) -> None:
        while not self._over.wait(DRIP_EVERY_S):
            for at, (words, sock) in enumerate(self._dripping):
                try:
                    sock.send(b" ")
                except OSError:  # it was cut off
                    sock.close()
                    with contextlib.suppress(OSError):
                        self._dripping[at] = (words, self._connected(words))
