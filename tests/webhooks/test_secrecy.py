"""Headers of callbacks, and secrets, are told nowhere: no answer, no log line, no page, no exception.

Each scenario goes wrong in its own way, with a marker for what must not be told.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from egress import client as egress_client
from tests.egress.server import Server, answering, reply, sending
from tests.factories import Api, Member
from tests.staff import superuser
from tests.webhooks.callbacks import callback, destination
from tests.webhooks.conftest import Names
from webhooks import signing
from webhooks.models import Callback, Destination, SigningSecret

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("closed")]

MARKER = "m4rk3r-0f-4-s3cr3t"
HEADERS = {"Authorization": f"Bearer {MARKER}", "X-Token": MARKER}
TEST = "/v1/callback-receivers/test"


class Told:
    """All that anybody was told while a test went on."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self.caplog, self.capfd = caplog, capfd
        self.answers: list[str] = []

    def take(self, answer: Any) -> Any:
        headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.answers.append(f"{headers}\n{answer.content.decode()}")
        return answer

    def all(self) -> str:
        written = self.capfd.readouterr()
        logged = "\n".join(
            f"{record.getMessage()} {record.__dict__!r} {_trace_of(record)}" for record in self.caplog.records
        )
        return "\n".join([*self.answers, self.caplog.text, logged, written.out, written.err])


def _trace_of(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    # What a chain of exceptions holds, whether a traceback prints it or not.
    told = []
    while error:
        told += [repr(error), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(told)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Told]:
    caplog.set_level(logging.DEBUG)
    told = Told(caplog, capfd)
    yield told
    said = told.all()
    assert said.strip(), "something was said, or this shows nothing"
    assert MARKER not in said


def ask(api: Api, told: Told, url: str, **headers: Any) -> Any:
    return told.take(api.post(TEST, {"url": url, "headers": {**HEADERS, **headers}}))


# --- What is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Token", f"{MARKER}\r\nX-More: y"),
        ("X-Token", f"{MARKER}日本"),
        ("X-Token", [MARKER]),
        ("X-Token", {MARKER: MARKER}),
        ("x-token", MARKER),
        ("Host", MARKER),
        ("webhook-signature", MARKER),
        ("a b", MARKER),
        ("X-Long", MARKER * 500),
    ],
)
def test_a_header_that_is_refused(api: Api, told: Told, name: str, value: Any) -> None:
    assert ask(api, told, "https://8.8.8.8/", **{name: value}).status_code == 400


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8/",
        "https://127.0.0.1/",
        "https://inside.example/",
        f"https://user:{MARKER}@8.8.8.8/",
        f"https://127.0.0.1/?key={MARKER}",
        f"https://inside.example/{MARKER}?key={MARKER}#{MARKER}",
        f"https://[{MARKER}/",
        f"https://{MARKER}:{MARKER}/",
        f"//{MARKER}",
    ],
)
def test_a_url_that_is_refused(api: Api, told: Told, names: Names, url: str) -> None:
    names["inside.example"] = [["10.0.0.1"]]
    assert ask(api, told, url).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        f'{{"url": "https://8.8.8.8/", "headers": {{"X-Token": "{MARKER}"}}',
        f'{{"url": "https://8.8.8.8/", "headers": {{"X-Token": "{MARKER}\\u0000"}}}}',
        f'{{"url": "https://8.8.8.8/", "headers": {{"X-Token": "{MARKER}\\ud800"}}}}',
        f'{{"url": "https://8.8.8.8/", "headers": "{MARKER}"}}',
        f'{{"url": ["{MARKER}"], "headers": {{"X-Token": "{MARKER}"}}}}',
        f'["{MARKER}"]',
    ],
)
def test_a_body_that_is_refused(api: Api, told: Told, body: str) -> None:
    assert told.take(api.post(TEST, body.encode())).status_code == 400


# --- What goes wrong on the way --------------------------------------------------------------------------------


def dead(_: Server) -> None:
    raise AssertionError("nobody is asked")


@pytest.mark.parametrize(
    "talk",
    [
        answering(reply(b"no", "500 Oops")),
        answering(reply(b"go", "302 Found", "Location: https://127.0.0.1/")),
        answering(reply(b"gone", "410 Gone")),
        sending(b"this is not HTTP\r\n\r\n"),
        sending(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbroken off"),
        sending(),
    ],
    ids=["500", "302", "410", "no HTTP", "broken off", "closed"],
)
def test_a_receiver_that_fails(api: Api, told: Told, reachable: None, talk: Any) -> None:
    with Server(talk) as server:
        answer = ask(api, told, server.url())
        assert server.received[0].header("authorization") == HEADERS["Authorization"]
    assert (answer.status_code, bool(answer.json()["error"])) == (200, True)


def test_a_receiver_that_is_not_there(api: Api, told: Told, reachable: None, names: Names) -> None:
    with Server(answering(reply())) as server:
        port = server.port
    for host in ("127.0.0.1", "nowhere.example"):
        assert ask(api, told, f"http://{host}:{port}/?x=1").json()["error"]


def break_at(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect, deep inside")

    monkeypatch.setattr(place, broken)


@pytest.mark.parametrize(
    "place",
    ["egress.client._ask", "egress.client.check_request", "egress.connecting._connect", "webhooks.signing._signature",
     "webhooks.destinations.check_header", "webhooks.destinations.addresses_of", "webhooks.trial.dumps"],
)  # fmt: skip
def test_a_defect_of_ours(
    api: Api, told: Told, reachable: None, names: Names, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    assert hasattr(egress_client, "_ask")
    break_at(monkeypatch, place)
    answer = ask(api, told, "http://hooks.example/")
    assert (answer.status_code, answer.json()["error_label"]) == (500, "INTERNAL_ERROR")
    assert "a defect, deep inside" in told.caplog.text


# --- What is stored -------------------------------------------------------------------------------------------


@pytest.fixture
def stored(acme: Member) -> Callback:
    """A failed callback that carries the marker."""
    return callback(acme, to=destination(acme, headers=HEADERS))


Call = Callable[[Api, Callback], Any]
CALLS: dict[str, Call] = {
    "list": lambda api, made: api.get("/v1/runs/callbacks"),
    "one": lambda api, made: api.get(f"/v1/runs/callbacks/{made.uid}"),
    "replay": lambda api, made: api.post(f"/v1/runs/callbacks/{made.uid}/replay", {}),
    "bulk": lambda api, made: api.post("/v1/runs/callbacks/replay", {"run_uid": str(made.run_uid), "status": "FAILED"}),
    "receivers": lambda api, made: api.get("/v1/callback-receivers"),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_the_api_shows_of_it(api: Api, told: Told, stored: Callback, call: str) -> None:
    assert told.take(CALLS[call](api, stored)).status_code in (200, 201, 202)


@pytest.mark.parametrize("call", CALLS)
def test_a_defect_while_it_is_shown(
    api: Api, told: Told, stored: Callback, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for place in ("webhooks.serializers.CallbackSerializer.to_representation", "webhooks.receivers.wake",
                  "webhooks.backlogs.backlogs"):  # fmt: skip
        break_at(monkeypatch, place)
    assert told.take(CALLS[call](api, stored)).status_code == 500


def test_the_admin(told: Told, stored: Callback, acme: Member) -> None:
    secret = signing.secrets_of(acme.workspace.pk, now=timezone.now()).secret
    root = superuser()
    paths = ["", "webhooks/", "webhooks/callback/", f"webhooks/callback/{stored.pk}/change/",
             f"webhooks/callback/{stored.pk}/history/", "webhooks/receiver/",
             f"webhooks/receiver/{stored.receiver_id}/change/"]  # fmt: skip
    for path in paths:
        answer = told.take(root.get(f"/admin/{path}"))
        assert answer.status_code == 200, path
        assert secret.removeprefix("whsec_") not in answer.content.decode()


def test_how_rows_print(stored: Callback, acme: Member) -> None:
    secret = signing.rotate(acme.workspace.pk, now=timezone.now())
    rows: list[Any] = [Destination.objects.get(), stored, stored.receiver, SigningSecret.objects.get(), secret]
    for row in rows:
        printed = f"{row} {row!r}"
        for hidden in (MARKER, secret.secret, secret.previous_secret):
            assert hidden not in printed, type(row)
