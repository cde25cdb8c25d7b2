"""Launches that are repeated over real HTTP: fifty at once, and while the processes that answer them are killed."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tests.system.installation import PATIENCE_S, Client, Installation, until

AT_ONCE = 50
JSON = {"Content-Type": "application/json"}
AGAIN = frozenset({409, 503})


@dataclass(frozen=True)
class Launch:
    """One launch with a key, which stands in its run as well."""

    key: str
    path: str
    body: bytes

    def send(self, client: Client) -> requests.Response:
        """Ask for it, over a connection of its own as a retrying caller does."""
        return requests.post(
            client.url + self.path,
            data=self.body,
            headers={**JSON, "X-API-Key": str(client.session.headers["X-API-Key"]), "Idempotency-Key": self.key},
            timeout=PATIENCE_S,
        )

    def answer(self, client: Client) -> requests.Response:
        """Ask until there is an answer that stands."""
        answers: list[requests.Response] = []

        def is_answered() -> bool:
            answers.append(self.send(client))
            return answers[-1].status_code not in AGAIN

        until(is_answered, lambda: answers[-1].text)
        return answers[-1]


def launch(kind: str, key: str, *, seconds: float = 0.0) -> Launch:
    one = {"number": 12, "seconds": seconds}
    body: dict[str, Any] = {"inputs": [one] * 20, "batch_size": 5} if kind == "async" else {"input": one}
    return Launch(key, f"/v1/actions/square-slowly/run/{kind}", json.dumps({**body, "identity_ids": [key]}).encode())


def is_replay(answer: requests.Response) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def run_uid(answer: requests.Response) -> str:
    return answer.headers.get("X-Run-Uid") or answer.json()["run_uid"]


def select(installation: Installation, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(installation.environment["DATABASE_URL"]) as database:
        return database.execute(query).fetchall()


def runs_by_key(installation: Installation) -> dict[str, list[str]]:
    """Return the uids of the runs that were launched with each key."""
    rows = select(installation, "SELECT identity_ids->>0, uid::text FROM runs_run WHERE identity_ids IS NOT NULL")
    found: dict[str, list[str]] = {}
    for key, uid in rows:
        found.setdefault(key, []).append(uid)
    return found


def kept_keys(installation: Installation) -> dict[str, str]:
    """Return the uid of the run that each key stands for."""
    return dict(select(installation, "SELECT key, stored_uid::text FROM workspaces_idempotencykey"))


# --- At once --------------------------------------------------------------------------------------------------


def at_once(call: Callable[[], requests.Response]) -> list[requests.Response]:
    begin = threading.Barrier(AT_ONCE)

    def wait_and_call() -> requests.Response:
        begin.wait(PATIENCE_S)
        return call()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [future.result(PATIENCE_S) for future in [pool.submit(wait_and_call) for _ in range(AT_ONCE)]]


@pytest.mark.parametrize(("kind", "status", "seconds"), [("async", 202, 0.0), ("live", 200, 0.5)])
def test_fifty_at_once_start_one_run(shared: Installation, kind: str, status: int, seconds: float) -> None:
    asked = launch(kind, f"fifty-{kind}", seconds=seconds)
    answers = at_once(lambda: asked.send(shared.client))
    assert {answer.status_code for answer in answers} <= {status, 409}, [answer.text for answer in answers]
    for told in (answer for answer in answers if answer.status_code == 409):
        assert (told.headers["Retry-After"], told.json()["error_label"]) == ("1", "CONFLICT")
        assert told.json()["params"]["status"] == "IN_FLIGHT"
    first = [answer for answer in answers if answer.status_code == status and not is_replay(answer)]
    assert len(first) == 1
    again = at_once(lambda: asked.send(shared.client))
    replays = again + [answer for answer in answers if is_replay(answer)]
    assert {(answer.status_code, answer.content, is_replay(answer)) for answer in replays} == {
        (status, first[0].content, True)
    }
    assert {run_uid(answer) for answer in replays} == {run_uid(first[0])}
    assert runs_by_key(shared)[asked.key] == [run_uid(first[0])]
    shared.wait_for_end(run_uid(first[0]))
    executions = Counter(one.index for one in shared.executions(run_uid(first[0])))
    assert set(executions.values()) == {1}


def test_fifty_at_once_in_flight_are_told_to_come_again(shared: Installation) -> None:
    """A live call takes its time, so that all but one of them meet it."""
    asked = launch("live", "slow", seconds=2.0)
    answers = at_once(lambda: asked.send(shared.client))
    assert Counter(answer.status_code for answer in answers)[409] >= AT_ONCE // 2


def pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 10_007):
        yield body[start : start + 10_007]


def test_a_large_body_is_known_again_however_it_is_sent(shared: Installation) -> None:
    """With its length or in chunks, over the size that a temporary file takes; one byte tells it apart."""
    body = json.dumps({"inputs": [{"number": 1, "custom_data": {"text": "x" * 4_000}}] * 700}).encode()
    assert len(body) > 2 * 1024 * 1024
    headers = {**JSON, "Idempotency-Key": "large"}

    def send(data: Any) -> requests.Response:
        return shared.client.post("/v1/actions/square/async", data=data, headers=headers)

    first = send(pieces(body))
    assert first.status_code == 202, first.text
    for again in (send(body), send(pieces(body))):
        assert (again.status_code, again.content, is_replay(again)) == (202, first.content, True)
    other = body[:-3] + b" " + body[-3:]
    for data in (other, pieces(other), body + b"\n", body[:-2] + b'], "name": ""}'):
        refused = send(data)
        assert (refused.status_code, refused.json()["error_label"]) == (422, "IDEMPOTENCY_MISMATCH")


@pytest.mark.parametrize("key", ["", "k 1", "clé", "k" * 256, "k\x7f", "k\t1"])
def test_a_malformed_key_is_refused_on_the_wire(shared: Installation, key: str) -> None:
    headers = {**JSON, "Idempotency-Key": key.encode("latin-1")}
    answer = shared.client.post("/v1/actions/square/async", data=b'{"inputs": [{"number": 1}]}', headers=headers)
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_INPUT")
    assert "idempotency-key" in answer.json()["message"].lower()


# --- Killed half-way ------------------------------------------------------------------------------------------

SEED = 20
CALLERS, KILLS, AT_MOST_EACH = 8, 5, 500


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)


class Storm:
    """Callers that launch on and on, each launch once, whatever comes back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_over = threading.Event()
        self.answered: dict[Launch, requests.Response] = {}
        self.unanswered: list[Launch] = []

    def run(self, meanwhile: Callable[[], None]) -> None:
        """Launch for as long as `meanwhile` takes."""
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(self._call, number) for number in range(CALLERS)]
            try:
                meanwhile()
            finally:
                self._is_over.set()
            for caller in callers:
                caller.result(PATIENCE_S)

    def wait_for(self, answers: int) -> None:
        until(lambda: len(self.answered) >= answers, lambda: f"{len(self.answered)} of {answers} answers")

    def _call(self, caller: int) -> None:
        for number in range(AT_MOST_EACH):
            if self._is_over.wait(0.02):
                return
            one = launch("live" if number % 4 == 0 else "async", f"storm-{caller}-{number}")
            try:
                answer = one.send(self._client)
            except requests.RequestException:
                self.unanswered.append(one)
            else:
                self.answered[one] = answer


def test_whoever_is_killed_leaves_run_and_key_or_neither(breakable: Installation) -> None:
    chance = random.Random(SEED)

    def kill() -> None:
        for _ in range(KILLS):
            storm.wait_for(len(storm.answered) + chance.randrange(5, 25))
            time.sleep(chance.uniform(0.0, 0.1))
            os.kill(chance.choice(children(breakable.pid("web"))), signal.SIGKILL)

    storm = Storm(breakable.client)
    storm.run(kill)
    said = f"seed {SEED}: {KILLS} kills, {len(storm.answered)} answered, {len(storm.unanswered)} not"
    assert storm.unanswered, said
    assert {answer.status_code for answer in storm.answered.values()} <= {200, 202, 503}, said

    # Who was killed left no key without its run, and no run without its key.
    until(lambda: not open_transactions(breakable), breakable.logs)
    kept, runs = kept_keys(breakable), runs_by_key(breakable)
    launched = {key: uids for key, uids in runs.items() if key.startswith("storm-")}
    assert {key: [uid] for key, uid in kept.items() if key.startswith("storm-")} == launched

    # Whoever asks again is answered, and there is one run for each key.
    breakable.start("web")
    for one in itertools.chain(storm.answered, storm.unanswered):
        first, again = storm.answered.get(one), one.answer(breakable.client)
        assert again.status_code in (200, 202), again.text
        if first is not None and first.status_code != 503:
            assert (again.status_code, again.content, is_replay(again)) == (first.status_code, first.content, True)
        elif one.key in launched:
            assert is_replay(again)
            assert [run_uid(again)] == launched[one.key]
    asked = {one.key for one in itertools.chain(storm.answered, storm.unanswered)}
    kept, runs = kept_keys(breakable), runs_by_key(breakable)
    assert {key: [kept[key]] for key in asked} == {key: runs[key] for key in asked}
    until(lambda: unfinished(breakable) == 0, breakable.logs)


def open_transactions(installation: Installation) -> int:
    """Return how many sessions do something: of who was killed the database may not have noticed yet."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()"
    return int(select(installation, query)[0][0])


def unfinished(installation: Installation) -> int:
    query = "SELECT count(*) FROM runs_run WHERE identity_ids->>0 LIKE 'storm-%' AND status <> 'SUCCEEDED'"
    return int(select(installation, query)[0][0])
