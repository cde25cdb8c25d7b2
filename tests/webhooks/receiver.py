"""A receiver of callbacks on loopback that misbehaves as a test says. `tests.egress.server` is below it."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.egress.server import Conversation, Received, Server, reply

Act = Callable[[Conversation, Received], None]


class Receiver(Server):
    """Does `act` with each request; `act` may be changed at any time."""

    def __init__(self, act: Act) -> None:
        super().__init__(self._talk_on)
        self.act = act

    @property
    def origin(self) -> str:
        return self.url("")

    def bodies(self) -> list[Any]:
        """Return what came, parsed."""
        return [json.loads(one.body) for one in list(self.received)]

    def _talk_on(self, conversation: Conversation) -> None:
        while (received := conversation.receive()) is not None:
            self.act(conversation, received)


def verify(received: Received, *secrets: str) -> None:
    """Have the Standard Webhooks library verify a request by each secret; it raises what it finds."""
    for secret in secrets:
        Webhook(secret).verify(received.body, dict(received.headers))


def answer(status: int = 200, body: bytes = b"ok", *headers: str) -> Act:
    """Answer with a status."""

    def act(conversation: Conversation, received: Received) -> None:
        conversation.send(reply(body, f"{status} Told", *headers))

    return act


def in_turn(*acts: Act) -> Act:
    """Do one thing after the other, whatever the connection, and the last again and again."""
    lock, left = threading.Lock(), list(acts)

    def act(conversation: Conversation, received: Received) -> None:
        with lock:
            following = left.pop(0) if len(left) > 1 else left[0]
        following(conversation, received)

    return act


def by_path(**acts: Act) -> Act:
    """Do what stands under the path's first part."""

    def act(conversation: Conversation, received: Received) -> None:
        acts[received.path.split("/")[1]](conversation, received)

    return act


def send(*pieces: bytes) -> Act:
    """Send bytes, and close."""

    def act(conversation: Conversation, received: Received) -> None:
        for piece in pieces:
            conversation.send(piece)
        close(conversation, received)

    return act


def close(conversation: Conversation, received: Received) -> None:
    """Close without an answer."""
    conversation.socket.shutdown(socket.SHUT_RDWR)


def reset(conversation: Conversation, received: Received) -> None:
    """Break the connection off."""
    conversation.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conversation.hang_up()
    raise ConnectionAbortedError  # ends the conversation


def drip(conversation: Conversation, received: Received) -> None:
    """Answer a byte at a time, ten a second, without an end."""
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    conversation.drip(b"x")


class BlackHole:
    """Takes requests and never answers, until it is let go; then it answers 200 to all."""

    def __init__(self) -> None:
        self.is_open = threading.Event()

    def __call__(self, conversation: Conversation, received: Received) -> None:
        while not self.is_open.wait(0.02):
            if conversation.server.stopped.is_set():
                return
        answer()(conversation, received)


def endless(piece: bytes) -> Iterator[bytes]:
    """Yield the same bytes for ever."""
    while True:
        yield piece
