"""A receiver of callbacks, as somebody's own service is one, that misbehaves as a test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.egress.server import Conversation, Received, Server, reply


class Manner(Enum):
    """What becomes of one request."""

    TAKE = "takes it and says so"
    REFUSE = "answers 500 and forgets it"
    DROP = "takes it and hangs up without an answer"
    SILENCE = "neither answers nor hangs up"


@dataclass(frozen=True)
class Arrival:
    """A callback as it came, and when (epoch seconds)."""

    at: float
    ref_uid: str
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def is_final(self) -> bool:
        return self.body["run"]["status"] != "RUNNING"


def well(number: int, times: int) -> Manner:
    """Take everything. `number` counts requests from 0, `times` how often this callback has come before."""
    return Manner.TAKE


def badly(number: int, times: int) -> Manner:
    """Answer 500 to a third and drop a tenth, but no callback more than four times."""
    if times >= 4:
        return Manner.TAKE
    if number % 3 == 1:
        return Manner.REFUSE
    return Manner.DROP if number % 10 == 3 else Manner.TAKE


def never(number: int, times: int) -> Manner:
    """Accept connections and requests, and answer nothing."""
    return Manner.SILENCE


class Receiver:
    """Listens on loopback while its `with` block lasts, verifies signatures, and keeps what it takes."""

    def __init__(self, manner: Callable[[int, int], Manner] = well, *, secret: str) -> None:
        self.manner = manner
        self.wrong: list[str] = []
        """What no receiver should be sent."""
        self.requests = 0
        self._webhook = Webhook(secret)
        self._bodies: dict[str, list[bytes]] = {}
        self._taken: dict[str, Arrival] = {}
        self._lock = threading.Lock()
        self._server = Server(self._talk)

    def __enter__(self) -> Receiver:
        self._server.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.__exit__(*raised)

    @property
    def url(self) -> str:
        return self._server.url("/callbacks")

    @property
    def origin(self) -> str:
        return self._server.url("")

    @property
    def doubles(self) -> int:
        """How many requests brought what had been brought before, taken or not."""
        return self.requests - len(self._bodies)

    def arrivals(self, run_uid: str) -> list[Arrival]:
        """Return the callbacks of a run that were taken, each once, in the order in which they came."""
        with self._lock:
            taken = list(self._taken.values())
        return [one for one in taken if one.body["run"]["run_uid"] == run_uid]

    def _talk(self, conversation: Conversation) -> None:
        while request := conversation.receive():
            manner = self._receive(request)
            if manner is Manner.SILENCE:
                self._server.stopped.wait()
            if manner in (Manner.SILENCE, Manner.DROP):
                return
            conversation.send(reply(b"later", "500 Trouble") if manner is Manner.REFUSE else reply())

    def _receive(self, request: Received) -> Manner:
        headers = {name.lower(): value for name, value in request.headers}
        arrival = Arrival(time.time(), headers.get("webhook-id", ""), json.loads(request.body), headers)
        problems = list(self._problems(request, arrival))
        with self._lock:
            before = self._bodies.setdefault(arrival.ref_uid, [])
            if any(body != request.body for body in before):
                problems.append(f"{arrival.ref_uid} came with another body than before")
            self.wrong += problems
            manner = self.manner(self.requests, len(before))
            before.append(request.body)
            self.requests += 1
            if manner in (Manner.TAKE, Manner.DROP):
                self._taken.setdefault(arrival.ref_uid, arrival)
        return manner

    def _problems(self, request: Received, arrival: Arrival) -> Iterator[str]:
        if request.method != "POST" or arrival.headers.get("content-type") != "application/json":
            yield f"{arrival.ref_uid} is a {request.method} of {arrival.headers.get('content-type')}"
        if not arrival.headers.get("user-agent", "").startswith("Runyard/"):
            yield f"{arrival.ref_uid} is sent by {arrival.headers.get('user-agent')}"
        if arrival.body["callback_ref_uid"] != arrival.ref_uid:
            yield f"{arrival.ref_uid} has the body of {arrival.body['callback_ref_uid']}"
        try:
            self._webhook.verify(request.body, arrival.headers)
        except (WebhookVerificationError, ValueError) as error:
            yield f"{arrival.ref_uid} is signed wrongly: {error}"
