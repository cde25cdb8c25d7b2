"""A server on loopback that does what a test says, byte by byte, in a thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from egress import Answer, Client, Policy
from egress.addresses import Address

HERE = Policy(schemes=frozenset({"http", "https"}), allow_private=True)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CERTIFICATES = Path(__file__).parent / "certificates"
"""A made-up authority, and key and certificate that it gave to receiver.test; both end in 2126."""


def addresses(*texts: str) -> list[Address]:
    return [ip_address(text) for text in texts]


def resolve_here(host: str, port: int, *, timeout_s: float) -> list[Address]:
    """Find every name on loopback."""
    return addresses("127.0.0.1")


def trusting() -> ssl.SSLContext:
    """Return how https is spoken by those who trust the made-up authority."""
    context = ssl.create_default_context()
    context.load_verify_locations(CERTIFICATES / "authority.pem")
    return context


def reply(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """Return the bytes of an answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


class Conversation:
    """One connection, from the server's side."""

    def __init__(self, server: Server, connected: socket.socket, number: int) -> None:
        self.server, self.socket, self.number = server, connected, number
        self._read = connected.makefile("rb")

    def receive(self) -> Received | None:
        """Read the next request; None when there is no more."""
        line = self._read.readline()
        if not line:
            return None
        method, path, _ = line.decode("latin-1").split(" ")
        headers: list[tuple[str, str]] = []
        while (line := self._read.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        received = Received(method, path, headers, b"")
        received.body = self._read.read(int(received.header("content-length") or 0))
        self.server.received.append(received)
        return received

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hang_up(self) -> None:
        """Close at once: who reads of a socket keeps it open."""
        self._read.close()
        self.socket.close()

    def drip(self, data: bytes) -> None:
        """Send the same bytes for ever, ten times a second."""
        while not self.server.stopped.wait(0.1):
            self.send(data)


Talk = Callable[[Conversation], None]


class Server:
    """Listens while its `with` block lasts. `received` has the requests, `accepted` counts connections."""

    def __init__(self, talk: Talk, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self.talk = talk
        self.received: list[Received] = []
        self.accepted = 0
        self.stopped = threading.Event()
        self.scheme = "https" if tls else "http"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        self.port: int = self._listening.getsockname()[1]
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if tls else None
        if self._tls:
            self._tls.load_cert_chain(CERTIFICATES / "receiver.pem")

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(connected, self.accepted), daemon=True).start()

    def _serve(self, connected: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connected):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connected = self._tls.wrap_socket(connected, server_side=True)
            with contextlib.closing(connected):
                self.talk(Conversation(self, connected, number))


def answering(*answers: bytes) -> Talk:
    """Answer a connection's requests with these, one after the other, the last one again and again."""

    def talk(conversation: Conversation) -> None:
        waiting = list(answers)
        while conversation.receive():
            conversation.send(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    return talk


def sending(*pieces: bytes) -> Talk:
    """Answer one request with these bytes and close."""

    def talk(conversation: Conversation) -> None:
        conversation.receive()
        for piece in pieces:
            conversation.send(piece)

    return talk


def get(server: Server, *, client: Client | None = None, max_bytes: int = 1000, **options: Any) -> Answer:
    """Ask a server for what it answers, as this machine may."""
    return (client or Client(HERE)).fetch("GET", server.url(), timeout_s=30, max_bytes=max_bytes, **options)
