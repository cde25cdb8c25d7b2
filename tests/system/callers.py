"""Callers who go on while everything around them breaks: what they asked for, and what each try was answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

ASK_AGAIN_S = 0.2
REQUEST_TIMEOUT_S = 30.0
UNANSWERED = 0  # the web was dead, or died


@dataclass(frozen=True)
class Answer:
    """One try: when it began, how long it took, and its HTTP status, or UNANSWERED."""

    at: datetime
    took_s: float
    status: int
    text: str
    retry_after: str | None


@dataclass(frozen=True)
class Launch:
    """A run to launch, so many seconds after the beginning."""

    at_s: float
    count: int


class Caller(threading.Thread):
    """Asks for one thing after another over a connection of its own each time, until it is told to end."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._key = key
        self._ended = threading.Event()
        self.answers: list[Answer] = []

    def end(self) -> None:
        """Ask for nothing more, and return when the last answer is there."""
        self._ended.set()
        self.join(2 * REQUEST_TIMEOUT_S)

    def ask(self, path: str, body: Any, **headers: str) -> requests.Response | None:
        """Try once; None where nobody answered."""
        at, began = datetime.now(UTC), time.monotonic()
        response: requests.Response | None = None
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.post(
                    self._url + path, json=body, headers={"X-API-Key": self._key, **headers}, timeout=REQUEST_TIMEOUT_S
                )
            status, text, retry_after = response.status_code, response.text[:300], response.headers.get("Retry-After")
        except (requests.ConnectionError, requests.Timeout) as error:
            status, text, retry_after = UNANSWERED, str(error), None
        self.answers.append(Answer(at, time.monotonic() - began, status, text, retry_after))
        return response


class Launcher(Caller):
    """Launches runs of `action` one after the other, each with a key and as often as it takes to be accepted.

    They are tagged with `name`. `make_callback` is given the place of a launch, from 0, and its number of inputs, and
    says what it asks for with `callback`.
    """

    def __init__(
        self,
        url: str,
        key: str,
        launches: Sequence[Launch],
        *,
        action: str,
        make_input: Callable[[int], Any],
        make_callback: Callable[[int, int], Any],
        name: str,
    ) -> None:
        super().__init__(url, key)
        self._launches = launches
        self._make_callback = make_callback
        self._path = f"/v1/actions/{action}/async"
        self._make_input = make_input
        self._name = name
        self._began = time.monotonic()
        self.accepted: dict[str, range] = {}
        """The runs by uid, with the numbers of which each has an input."""
        self.calling_back: set[str] = set()
        """Those of them with a callback."""

    @property
    def is_done(self) -> bool:
        return len(self.accepted) == len(self._launches)

    def run(self) -> None:
        first = 0
        for place, launch in enumerate(self._launches):
            wait_s = self._began + launch.at_s - time.monotonic()
            if self._ended.wait(max(wait_s, 0.0)):
                return
            numbers = range(first, first := first + launch.count)
            body = {"inputs": [self._make_input(number) for number in numbers], "tags": [self._name]}
            if callback := self._make_callback(place, launch.count):
                body["callback"] = callback
            while not self._is_accepted(f"{self._name}-{place}", body, numbers):
                if self._ended.wait(ASK_AGAIN_S):
                    return

    def _is_accepted(self, key: str, body: Any, numbers: range) -> bool:
        response = self.ask(self._path, body, **{"Idempotency-Key": key})
        if response is None or response.status_code != 202:
            return False
        run_uid = response.json()["run_uid"]
        self.accepted[run_uid] = numbers
        if "callback" in body:
            self.calling_back.add(run_uid)
        return True


class LiveCaller(Caller):
    """Calls an action live, again and again, and takes every answer for an answer."""

    def __init__(self, url: str, key: str, *, action: str, make_input: Callable[[int], Any], every_s: float) -> None:
        super().__init__(url, key)
        self._path = f"/v1/actions/{action}/live"
        self._make_input = make_input
        self._every_s = every_s
        self.outputs: dict[int, Any] = {}

    def run(self) -> None:
        number = 0
        while not self._ended.wait(self._every_s):
            number += 1
            response = self.ask(self._path, {"input": self._make_input(number)})
            if response is not None and response.status_code == 200:
                self.outputs[number] = response.json()
