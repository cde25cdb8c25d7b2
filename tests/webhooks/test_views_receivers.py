"""`/v1/callback-receivers`: how each fares, and a test of one."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from standardwebhooks import Webhook

from rest.json import rfc3339
from tests.egress.server import Conversation, Server, answering, reply
from tests.factories import Api, Member, member
from tests.webhooks.callbacks import callback, destination
from tests.webhooks.refused import HEADERS, URLS
from webhooks import receivers, signing, trial
from webhooks.models import Callback, Destination, Receiver, ReceiverStatus
from workspaces import keys

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("closed")]

LIST = "/v1/callback-receivers"
TEST = f"{LIST}/test"
PATIENCE_S = 30
ATTEMPT = ["at", "http_status", "http_response", "duration_ms", "error"]


def refused(answer: Any, status: int, label: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error_label"]) == (status, label), answer.content
    params: dict[str, Any] = answer.json()["params"]
    return params


# --- The list -------------------------------------------------------------------------------------------------


def test_a_receiver_as_it_is_shown(api: Api, acme: Member, other: Member) -> None:
    to, start = destination(acme), timezone.now() - timedelta(hours=1)
    for minutes, status in enumerate(["SUCCESS", "RUNNING", "PENDING", "PENDING", "FAILED"]):
        callback(acme, status, to=to, created_at=start + timedelta(minutes=minutes))
    callback(other, "PENDING")
    until = timezone.now() + timedelta(minutes=5)
    Receiver.objects.filter(pk=to.receiver.pk).update(
        status=ReceiverStatus.PAUSED, success_rate=0.25, paused_until=until, last_error="CONNECT_FAILED"
    )
    answer = api.get(LIST)
    assert answer.headers["X-Pagination-Total"] == "1"
    assert answer.json() == [
        {
            "origin": "https://hooks.example",
            "status": "PAUSED",
            "success_rate": 0.25,
            "pending": 3,
            "oldest_pending_at": rfc3339(start + timedelta(minutes=1)),
            "paused_until": rfc3339(until),
            "last_error": "CONNECT_FAILED",
        }
    ]


def test_one_that_nothing_was_sent_to(api: Api, acme: Member) -> None:
    receivers.receiver_of(acme.workspace, "https://new.example:8443")
    assert api.get(LIST).json() == [
        {
            "origin": "https://new.example:8443",
            "status": "OK",
            "success_rate": None,
            "pending": 0,
            "oldest_pending_at": None,
            "paused_until": None,
            "last_error": None,
        }
    ]


def test_in_an_order_and_page_by_page(api: Api, acme: Member) -> None:
    for name in "cadb":
        receivers.receiver_of(acme.workspace, f"https://{name}.example")
    for query, found in (("", "abcd"), ("?sort=-origin", "dcba"), ("?limit=2&offset=1", "bc")):
        assert [one["origin"][8] for one in api.get(f"{LIST}{query}").json()] == list(found)
    assert [one["origin"][8] for one in api.walk(f"{LIST}?limit=1")] == list("abcd")


@pytest.mark.parametrize("query", ["sort=status", "status=PAUSED", "origin=x", "limit=101"])
def test_a_query_that_cannot_be(api: Api, query: str) -> None:
    assert refused(api.get(f"{LIST}?{query}"), 400, "BAD_PARAMETERS")["parameter"] == query.partition("=")[0]


def test_queries_do_not_grow_with_the_page(api: Api, acme: Member) -> None:
    for number in range(20):
        callback(acme, "PENDING", to=destination(acme, url=f"https://{number}.example/"))
    with CaptureQueriesContext(connection) as queries:
        assert [one["pending"] for one in api.get(f"{LIST}?limit=100").json()] == [1] * 20
    assert len([query for query in queries if "webhooks_" in query["sql"]]) == 3  # the count, the page, what waits


def test_an_empty_page_asks_for_no_backlog(api: Api) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert api.get(LIST).json() == []
    assert not [query for query in queries if "webhooks_callback" in query["sql"]]


# --- A test ---------------------------------------------------------------------------------------------------


@pytest.fixture
def server(reachable: None) -> Iterator[Server]:
    with Server(answering(reply(b"thank you", "202 Accepted"))) as server:
        yield server


def test_a_receiver_that_answers(api: Api, acme: Member, server: Server) -> None:
    before = timezone.now()
    answer = api.post(TEST, {"url": server.url("/in?a=b"), "headers": {"Authorization": "Bearer s3cr3t"}})
    assert answer.status_code == 200, answer.content
    shown = answer.json()
    assert list(shown) == ATTEMPT
    assert (shown["http_status"], shown["http_response"], shown["error"]) == (202, "thank you", None)
    assert isinstance(shown["duration_ms"], int)
    assert before <= datetime.fromisoformat(shown["at"]) <= timezone.now()
    (received,) = server.received
    assert (received.method, received.path) == ("POST", "/in?a=b")
    assert received.header("authorization") == "Bearer s3cr3t"
    assert received.header("content-type") == "application/json"
    assert (received.header("user-agent") or "").startswith("Runyard/")


def test_its_body_has_the_shape_of_every_callback_and_says_that_it_is_a_test(api: Api, server: Server) -> None:
    for _ in range(2):
        api.post(TEST, {"url": server.url()})
    bodies = [json.loads(received.body) for received in server.received]
    refs = [body.pop("callback_ref_uid") for body in bodies]
    assert refs == [received.header("webhook-id") for received in server.received]
    assert refs[0] != refs[1]
    assert bodies[0] == {
        "run": {"run_uid": "00000000-0000-0000-0000-000000000000", "batch_uid": None, "status": "RUNNING"},
        "input": None,
        "custom_data": None,
        "results": [],
        "error": None,
        "test": True,
    }


def test_its_signature_verifies_with_the_workspaces_secret(api: Api, acme: Member, server: Server) -> None:
    api.post(TEST, {"url": server.url()})
    api.post("/v1/webhook-secret/rotate", {})
    api.post(TEST, {"url": server.url()})
    secrets = api.get("/v1/webhook-secret").json()
    for secret, received in ((secrets["previous_secret"], 0), (secrets["previous_secret"], 1), (secrets["secret"], 1)):
        one = server.received[received]
        Webhook(secret).verify(one.body, {name.lower(): value for name, value in one.headers})


def test_nothing_is_stored_but_the_secret(api: Api, server: Server) -> None:
    api.post(TEST, {"url": server.url()})
    assert (Callback.objects.count(), Receiver.objects.count(), Destination.objects.count()) == (0, 0, 0)


@pytest.mark.parametrize("status", ["500 Oops", "404 Not Found", "302 Found"])
def test_an_answer_that_is_no_success_is_an_attempt_too(api: Api, reachable: None, status: str) -> None:
    with Server(answering(reply(b"no", status, "Location: /elsewhere"))) as server:
        shown = api.post(TEST, {"url": server.url()}).json()
        assert len(server.received) == 1
    assert (shown["http_status"], shown["http_response"]) == (int(status[:3]), "no")
    assert shown["error"]


def test_so_is_nobody_who_answers(api: Api, reachable: None) -> None:
    with Server(answering(reply())) as server:
        url = server.url()
    answer = api.post(TEST, {"url": url})
    shown = answer.json()
    assert (answer.status_code, shown["http_status"], shown["http_response"]) == (200, None, None)
    assert shown["error"]


def test_urls_that_no_callback_may_have(api: Api) -> None:
    for name, url in URLS.items():
        assert refused(api.post(TEST, {"url": url}), 400, "BAD_INPUT") == {"field": "url"}, name


def test_headers_that_no_callback_may_have(api: Api) -> None:
    for name, value in HEADERS:
        answer = api.post(TEST, {"url": "https://8.8.8.8/", "headers": {name: value}})
        assert refused(answer, 400, "BAD_INPUT") == {"field": f"headers.{name}"}, (name, value)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": None}, "url"),
        ({"url": 1}, "url"),
        ({"url": ["https://8.8.8.8/"]}, "url"),
        ({"url": "https://8.8.8.8/", "headers": []}, "headers"),
        ({"url": "https://8.8.8.8/", "headers": {f"X-{n}": "" for n in range(21)}}, "headers"),
        ({"url": "https://8.8.8.8/", "on": "all"}, "on"),
        ({"callback": {"url": "https://8.8.8.8/"}}, "callback"),
        ("https://8.8.8.8/", ""),
    ],
)
def test_a_body_that_cannot_be(api: Api, body: Any, field: str) -> None:
    assert refused(api.post(TEST, body), 400, "BAD_INPUT")["field"] == field


def test_who_may(acme: Member, server: Server) -> None:
    _, reader = keys.make_key(acme.membership, role="USER", scopes=["read"])
    _, runner = keys.make_key(acme.membership, role="OPS", scopes=["run"])
    body = {"url": server.url()}
    assert Api(reader).get(LIST).status_code == 200
    refused(Api(runner).get(LIST), 403, "NO_ACCESS")
    refused(Api(reader).post(TEST, body), 403, "NO_ACCESS")
    refused(Api(None).post(TEST, body), 401, "UNAUTHORIZED")
    refused(Api(runner).get(TEST), 405, "METHOD_NOT_ALLOWED")
    assert server.received == []
    assert Api(runner).post(TEST, body).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_one_slow_receiver_of_a_workspace_at_once_and_two_in_all(acme: Member, other: Member, reachable: None) -> None:
    """Each holds a thread of the web server for as long as it takes."""
    third = member("Initech", "peter@initech.test")
    for one in (acme, other, third):
        signing.secrets_of(one.workspace.pk, now=timezone.now())
    arrived, answered = threading.Semaphore(0), threading.Event()

    def slow(conversation: Conversation) -> None:
        conversation.receive()
        arrived.release()
        answered.wait(PATIENCE_S)
        conversation.send(reply(b"at last"))

    statuses: list[int] = []

    def ask(one: Member) -> None:
        statuses.append(Api(one.key).post(TEST, {"url": server.url()}).status_code)
        connection.close()

    with Server(slow) as server:
        waiting = [threading.Thread(target=ask, args=[one]) for one in (acme, other)]
        try:
            for thread in waiting:
                thread.start()
                assert arrived.acquire(timeout=PATIENCE_S)
                if thread is waiting[0]:
                    assert refused(Api(acme.key).post(TEST, {"url": server.url()}), 503, "UNAVAILABLE") == {"limit": 1}
            for _ in range(3):
                answer = Api(third.key).post(TEST, {"url": server.url()})
                assert refused(answer, 503, "UNAVAILABLE") == {"limit": 2}
                assert int(answer.headers["Retry-After"]) > 0
            assert Api(acme.key).get(LIST).status_code == 200
        finally:
            answered.set()
            for thread in waiting:
                thread.join(PATIENCE_S)
        assert statuses == [200, 200]
        assert Api(acme.key).post(TEST, {"url": server.url()}).status_code == 200, "their places are free again"


@pytest.mark.parametrize("body", [{"url": "https://127.0.0.1/"}, {"url": "https://8.8.8.8/"}])
def test_a_place_is_given_back_whatever_happens(
    api: Api, body: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("deep inside")

    monkeypatch.setattr("webhooks.delivery.attempt", broken)
    statuses = {api.post(TEST, body).status_code for _ in range(2 * trial.MAX_AT_ONCE)}
    assert statuses == ({400} if "127" in body["url"] else {500})


# --- The secret -----------------------------------------------------------------------------------------------

SECRET, ROTATE = "/v1/webhook-secret", "/v1/webhook-secret/rotate"


def test_the_secret_is_made_when_it_is_first_asked_for(api: Api, other: Member) -> None:
    answer = api.get(SECRET)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    shown = answer.json()
    assert list(shown) == ["secret", "previous_secret", "previous_expires_at"]
    assert (shown["previous_secret"], shown["previous_expires_at"]) == (None, None)
    kind, _, key = shown["secret"].partition("_")
    assert (kind, 24 <= len(base64.b64decode(key, validate=True)) <= 64) == ("whsec", True)
    assert api.get(SECRET).json() == shown
    assert Api(other.key).get(SECRET).json()["secret"] != shown["secret"]


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_rotation_keeps_the_one_before_for_a_day(api: Api, body: bytes) -> None:
    before = api.get(SECRET).json()["secret"]
    answer = api.post(ROTATE, body)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    shown = answer.json()
    assert list(shown) == ["secret", "previous_secret", "previous_expires_at"]
    assert shown["previous_secret"] == before != shown["secret"]
    left = datetime.fromisoformat(shown["previous_expires_at"]) - timezone.now()
    assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24)
    assert api.get(SECRET).json() == shown


def test_the_one_before_is_gone_after_a_day(api: Api, time_machine: Any) -> None:
    now = timezone.now()
    shown = api.post(ROTATE, {}).json()
    time_machine.move_to(now + timedelta(hours=24, minutes=1))
    assert api.get(SECRET).json() == {**shown, "previous_secret": None, "previous_expires_at": None}


def test_secrets_are_for_administrators(acme: Member) -> None:
    for options in (
        {"role": "OPS", "scopes": ["read", "run", "manage"]},
        {"role": "USER", "scopes": ["read", "run", "manage"]},
        {"role": "ADMIN", "scopes": ["read", "run"]},
    ):
        unable = Api(keys.make_key(acme.membership, **options)[1])
        for answer in (unable.get(SECRET), unable.post(ROTATE, {})):
            refused(answer, 403, "NO_ACCESS")
            assert "whsec_" not in answer.content.decode()
    refused(Api(None).get(SECRET), 401, "UNAUTHORIZED")
    able = Api(keys.make_key(acme.membership, scopes=["manage"])[1])
    assert [able.get(SECRET).status_code, able.post(ROTATE, {}).status_code] == [200, 200]
    refused(able.get(ROTATE), 405, "METHOD_NOT_ALLOWED")
    assert refused(able.post(ROTATE, {"secret": "mine"}), 400, "BAD_INPUT")["field"] == "secret"


def test_a_second_rotation_is_refused_unless_it_is_by_force(api: Api) -> None:
    first = api.post(ROTATE, {}).json()
    for body in ({}, {"force": False}, {"force": None}):
        answer = api.post(ROTATE, body)
        told = answer.json()
        assert (answer.status_code, told["error_label"]) == (409, "CONFLICT")
        assert told["params"] == {"previous_expires_at": first["previous_expires_at"], "parameter": "force"}
        assert "whsec_" not in answer.content.decode()
        assert api.get(SECRET).json() == first
    second = api.post(ROTATE, {"force": True})
    assert (second.status_code, second.json()["previous_secret"]) == (200, first["secret"])


@pytest.mark.parametrize("body", [{"force": 1}, {"force": "true"}, {"force": []}, {"Force": True}, {"a": 1}])
def test_what_a_rotation_does_not_take(api: Api, body: dict[str, Any]) -> None:
    answer = api.post(ROTATE, body)
    assert (answer.status_code, answer.json()["params"]["field"]) == (400, next(iter(body)))
    assert api.get(SECRET).json()["previous_secret"] is None
