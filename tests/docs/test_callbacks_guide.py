"""The guide to callbacks tells the truth: its receivers run as printed, and its bodies are those that are sent."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from actions import registry
from devstack.processes import end_with_parent
from runs import callbacks
from tests.docs import markdown
from tests.factories import Api, member, work
from webhooks import signing
from webhooks.bodies import unpack
from webhooks.delivery import Attempt
from webhooks.models import Callback
from webhooks.signing import Secrets

TEXT = (markdown.PROJECT / "docs" / "callbacks.md").read_text()
BLOCKS = markdown.blocks(TEXT)
README = markdown.PROJECT / "README.md"
PATIENCE_S = 30.0
COMMANDS = {"python": (sys.executable, "receiver.py"), "js": ("node", "receiver.mjs")}
OLD, NEW = ("whsec_" + text for text in ("b2xkIHNlY3JldCBvZiAyNCBieXRlcyE=", "bmV3IHNlY3JldCBvZiAyNCBieXRlcyE="))
BODY: dict[str, Any] = {
    "run": {"run_uid": "r", "batch_uid": "b", "status": "RUNNING"},
    "input": {"name": "Ålesund"},
    "custom_data": {"row": 1},
    "results": [{"n": 1.0}],
    "error": None,
}


def blocks(language: str) -> list[str]:
    return [block.text for block in BLOCKS if block.language == language]


class Receiver(NamedTuple):
    """A receiver of the guide, as a process; `printed` is what it has written."""

    url: str
    log: Path

    def post(self, body: bytes, headers: dict[str, str]) -> int:
        with requests.Session() as session:
            session.trust_env = False
            return session.post(self.url, data=body, headers=headers, timeout=PATIENCE_S).status_code

    def send(self, body: bytes, secrets: Secrets, *, ref_uid: uuid.UUID, at: datetime) -> int:
        return self.post(body, signing.headers_for(secrets, ref_uid=ref_uid, body=body, now=at))

    def handled(self) -> list[str]:
        return re.findall(r"^(?:results|failed|run) .*$", self.log.read_text(), re.MULTILINE)


@pytest.fixture(params=COMMANDS)
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    """A receiver of the guide that knows the new secret, in a folder of its own."""
    program, file = COMMANDS[request.param]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not there")
    (text,) = blocks(request.param)
    assert text.partition("\n")[0].lstrip("#/ ") == file
    (tmp_path / file).write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, file, str(port)], cwd=tmp_path, env=os.environ | {"WEBHOOK_SECRET": NEW}, stdout=out, stderr=out,
            preexec_fn=end_with_parent,
        )  # fmt: skip
    try:
        wait(lambda: _listens(port), log)
        yield Receiver(f"http://127.0.0.1:{port}/runyard", log)
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(condition: Any, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def secrets(secret: str = NEW, previous: str = "") -> Secrets:
    expires_at = datetime.now(UTC) + timedelta(hours=1) if previous else None
    return Secrets(secret=secret, previous_secret=previous, previous_expires_at=expires_at)


def body(ref_uid: uuid.UUID, **changed: Any) -> bytes:
    return json.dumps({"callback_ref_uid": str(ref_uid)} | BODY | changed, ensure_ascii=False).encode()


def test_a_receiver_takes_what_is_signed_and_works_on_it_once(receiver: Receiver) -> None:
    now, uids = datetime.now(UTC), [uuid.uuid4() for _ in range(4)]
    answers = [
        receiver.send(body(uids[0]), secrets(), ref_uid=uids[0], at=now),
        receiver.send(body(uids[0]), secrets(), ref_uid=uids[0], at=now + timedelta(seconds=5)),  # sent again
        # The secret is being changed: by a sender that has a newer one already, or has just been given this one.
        receiver.send(body(uids[1]), secrets(OLD, NEW), ref_uid=uids[1], at=now),
        receiver.send(body(uids[2]), secrets(NEW, OLD), ref_uid=uids[2], at=now - timedelta(minutes=4)),
    ]
    failed = body(uids[3], results=[], error={"error_label": "ODD", "message": "3 is odd"})
    answers.append(receiver.send(failed, secrets(), ref_uid=uids[3], at=now))
    assert answers == [200] * 5
    wait(lambda: len(receiver.handled()) >= 4, receiver.log)

    final = body(uids[0], input=None, custom_data=None, results=[], run=BODY["run"] | {"status": "SUCCEEDED"})
    end = uuid.uuid4()
    assert receiver.send(final, secrets(), ref_uid=end, at=now) == 200
    # What it has worked on comes once more, as a replay does after days.
    assert receiver.send(body(uids[0]), secrets(), ref_uid=uids[0], at=datetime.now(UTC)) == 200
    wait(lambda: receiver.handled()[-1:] == ["run r ended SUCCEEDED"], receiver.log)
    kinds = sorted(line.partition(" ")[0] for line in receiver.handled())
    assert kinds == ["failed", "results", "results", "results", "run"]
    assert "3 is odd" in receiver.log.read_text()


def test_a_receiver_refuses_what_is_not_ours(receiver: Receiver) -> None:
    now, uid = datetime.now(UTC), uuid.uuid4()
    good = signing.headers_for(secrets(), ref_uid=uid, body=body(uid), now=now)
    forged = {
        "with another secret": receiver.send(body(uid), secrets(OLD), ref_uid=uid, at=now),
        "an old one again": receiver.send(body(uid), secrets(), ref_uid=uid, at=now - timedelta(minutes=6)),
        "from the future": receiver.send(body(uid), secrets(), ref_uid=uid, at=now + timedelta(minutes=6)),
        "another body": receiver.post(body(uid, results=[]), good),
        "another id": receiver.post(body(uid), good | {"webhook-id": str(uuid.uuid4())}),
        "another time": receiver.post(body(uid), good | {"webhook-timestamp": str(int(now.timestamp()) + 1)}),
        "no signature": receiver.post(body(uid), good | {"webhook-signature": ""}),
        "half a signature": receiver.post(body(uid), good | {"webhook-signature": good["webhook-signature"][:20]}),
        "no such version": receiver.post(body(uid), good | {"webhook-signature": "v2" + good["webhook-signature"][2:]}),
        "not a signature": receiver.post(body(uid), good | {"webhook-signature": "v1"}),
        "not a time": receiver.post(body(uid), good | {"webhook-timestamp": "now"}),
        "not a text": receiver.post(b"\xff\xfe", good),
        "no headers": receiver.post(body(uid), {}),
    }
    assert forged == dict.fromkeys(forged, 401)
    assert receiver.post(body(uid), good) == 200
    wait(receiver.handled, receiver.log)
    assert len(receiver.handled()) == 1


# --- What it shows

UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def shown(value: Any) -> str:
    """Return JSON with its keys in order and every uid alike."""
    return UID.sub("a uid", json.dumps(value, indent=1))


def an_attempt() -> Attempt:
    return Attempt(datetime.now(UTC), 200, "", 5, None)


@pytest.fixture
def check_isbn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's action, in the registry for one test."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    (text,) = (one.text for one in markdown.blocks(README.read_text()) if one.language == "python")
    names: dict[str, Any] = {"__name__": "my_actions"}
    exec(compile(text, "README.md", "exec"), names)


@pytest.mark.django_db
@pytest.mark.parametrize("per", ["input", "batch"])
def test_its_bodies_are_those_that_are_sent(check_isbn: None, per: str) -> None:
    launch = json.loads(blocks("sh")[0].partition("-d '")[2].rstrip().removesuffix("'"))
    launch["callback"] |= {"url": "https://1.1.1.1/", "per": per}  # whose name need not be looked up
    if per == "batch":
        launch["inputs"].pop()
        launch["batch_size"] = 2
    api = Api(member().key)
    answer = api.post("/v1/actions/check-isbn/run/async", launch)
    assert answer.status_code == 202, answer.content
    work()
    while callbacks.announce(slice_s=PATIENCE_S):
        pass
    made = Callback.objects.select_related("body_pack").order_by("created_at", "id")
    bodies = [json.loads(unpack(one.body_pack.bodies)[one.body_position]) for one in made]
    result, invalid, end, batch = (json.loads(text) for text in blocks("json")[:4])
    if per == "batch":
        assert shown(bodies[0]) == shown(batch)
        assert bodies[1]["items"] == []
    else:
        assert [shown(body) for body in bodies[:2]] == [shown(invalid), shown(result)]
        assert shown(bodies[3]) == shown(end)
    listed, receivers = (json.loads(text) for text in blocks("json")[4:])
    assert list(api.get("/v1/runs/callbacks").json()[0]) == list(listed)
    assert list(api.get("/v1/callback-receivers").json()[0]) == list(receivers[0])
    assert {tuple(attempt) for attempt in listed["attempts"]} == {tuple(an_attempt().shown())}
