"""One attempt against receivers that answer well, badly or not at all."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from egress import Client, Policy
from egress.request import USER_AGENT
from tests.egress.server import Conversation, Received
from tests.webhooks.receiver import (
    BlackHole,
    Receiver,
    answer,
    close,
    drip,
    endless,
    in_turn,
    reset,
    send,
    verify,
)
from webhooks import delivery, signing
from webhooks.delivery import KEPT_BYTES, TAKEN_BYTES, Attempt
from webhooks.signing import Secrets

pytestmark = pytest.mark.usefixtures("reachable")

BODY = b'{"results": [1]}'
SECRETS = Secrets(signing._new_secret(), signing._new_secret(), timezone.now() + timedelta(hours=1))
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def fresh_client() -> None:
    """No connection of another test is kept."""
    delivery.client.cache_clear()


def attempt(url: str, **options: Any) -> Attempt:
    given = {"ref_uid": uuid4(), "secrets": SECRETS, "now": timezone.now(), "timeout_s": 30.0} | options
    return delivery.attempt(url, given.pop("headers", ()), given.pop("body", BODY), **given)


def test_what_is_sent_and_told() -> None:
    ref_uid, now = uuid4(), timezone.now()
    with Receiver(answer(202, b"thanks")) as receiver:
        told = attempt(receiver.url("/a?b=c"), headers=[("X-Token", "t"), ("X-Token", "u")], ref_uid=ref_uid, now=now)
    sent = receiver.received[0]
    assert (sent.method, sent.path, sent.body) == ("POST", "/a?b=c", BODY)
    assert [value for name, value in sent.headers if name == "X-Token"] == ["t", "u"]
    assert sent.header("content-type") == "application/json"
    assert sent.header("user-agent") == USER_AGENT
    assert sent.header("accept-encoding") == "identity"
    assert (sent.header("webhook-id"), sent.header("webhook-timestamp")) == (str(ref_uid), str(int(now.timestamp())))
    verify(sent, SECRETS.secret, SECRETS.previous_secret or "")
    assert (told.at, told.http_status, told.http_response, told.error) == (now, 202, "thanks", None)
    assert told.is_success
    assert told.shown() == {
        "at": now.isoformat().replace("+00:00", "Z"),
        "http_status": 202,
        "http_response": "thanks",
        "duration_ms": told.duration_ms,
        "error": None,
    }


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_success_is_any_2xx(status: int) -> None:
    with Receiver(answer(status, b"")) as receiver:
        assert attempt(receiver.url()).is_success


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 408, 410, 429, 500, 503, 599, 600, 999])
def test_every_other_answer_is_a_failure(status: int) -> None:
    with Receiver(answer(status, b"")) as receiver:
        told = attempt(receiver.url())
    assert (told.http_status, told.is_success, told.is_gone) == (status, False, status == 410)
    assert str(status) in (told.error or "")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with Receiver(answer()) as other, Receiver(answer(status, b"", f"Location: {other.url()}")) as receiver:
        told = attempt(receiver.url())
        assert (told.http_status, other.received) == (status, [])
        assert "redirects are not followed" in (told.error or "")
        assert other.origin not in (told.error or "")


@pytest.mark.parametrize(
    "act",
    [
        close,
        reset,
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
        send(b"\0\xff\r\n"),
        send(CHUNKED + b"zz\r\n"),
    ],
    ids=["closes", "resets", "breaks off", "is no HTTP", "bad chunks"],
)
def test_no_answer_to_its_end_is_a_failure(act: Any) -> None:
    with Receiver(act) as receiver:
        told = attempt(receiver.url())
    assert (told.http_status, told.http_response) == (None, None)
    assert told.error


def test_nobody_takes_the_connection() -> None:
    with Receiver(answer()) as receiver:
        url = receiver.url()
    assert "does not take connections" in (attempt(url).error or "")


@pytest.mark.parametrize("act", [drip, BlackHole()], ids=["drips", "is silent"])
def test_the_time_limit_is_for_all_of_it(act: Any) -> None:
    with Receiver(act) as receiver:
        told = attempt(receiver.url(), timeout_s=0.4)
    assert (told.http_status, told.error) == (None, "There was no whole answer within 0.4 s.")
    assert told.duration_ms >= 400


def test_the_first_bytes_of_an_answer_are_kept() -> None:
    with Receiver(answer(200, b"a" * KEPT_BYTES)) as receiver:
        assert attempt(receiver.url()).http_response == "a" * KEPT_BYTES
    with Receiver(answer(500, b"a" + "é".encode() * KEPT_BYTES)) as receiver:
        told = attempt(receiver.url()).http_response or ""
        assert told == "a" + "é" * ((KEPT_BYTES - 1) // 2)  # the one that the cut goes through is left out


def test_large_answers_are_cut_and_their_connection_is_given_up() -> None:
    """Up to some size an answer is read to its end, so that the next callback finds the connection."""
    with Receiver(in_turn(answer(200, bytes(TAKEN_BYTES)), answer(200, bytes(TAKEN_BYTES + 1)), answer())) as receiver:
        accepted = []
        for _ in range(3):
            assert attempt(receiver.url()).is_success
            accepted.append(receiver.accepted)
    assert accepted == [1, 1, 2]


def test_an_answer_without_an_end_is_cut() -> None:
    def act(conversation: Conversation, received: Received) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            for piece in endless(bytes(65536)):
                conversation.send(piece)

    with Receiver(act) as receiver:
        told = attempt(receiver.url())
    assert (told.is_success, told.http_response) == (True, "\ufffd" * KEPT_BYTES)


def test_a_head_without_an_end_is_a_failure() -> None:
    with Receiver(send(b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"x" * 1000 + b"\r\n"] * 80)) as receiver:
        assert "headers" in (attempt(receiver.url()).error or "")


def test_nothing_is_decompressed() -> None:
    bomb = gzip.compress(bytes(5_000_000))
    with Receiver(answer(200, bomb, "Content-Encoding: gzip")) as receiver:
        told = attempt(receiver.url())
    assert told.is_success
    assert told.http_response == delivery.text_of(bomb)
    assert len(told.http_response) <= KEPT_BYTES


def test_kept_connections_are_used_and_may_close_at_any_time() -> None:
    """One that closes as a callback is on its way costs no attempt: it is sent once more on a new one."""
    with Receiver(in_turn(answer(), answer(), close, answer())) as receiver:
        assert [attempt(receiver.url()).is_success for _ in range(3)] == [True, True, True]
        assert (receiver.accepted, len(receiver.received)) == (2, 4)
        for sent in receiver.received:
            verify(sent, SECRETS.secret)


def test_retry_after_is_read_of_failures_only() -> None:
    for status, expected in [(503, 7.0), (429, 7.0), (302, 7.0), (200, None)]:
        with Receiver(answer(status, b"", "Retry-After: 7")) as receiver:
            assert attempt(receiver.url()).retry_after_s == expected


def test_what_the_guard_refuses_is_a_failure_like_others(settings: Any) -> None:
    settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = False
    with Receiver(answer()) as receiver:
        told = attempt(receiver.url())
        assert "may not be called" in (told.error or "")
        settings.RUNYARD_CALLBACK_ALLOW_HTTP = False
        assert "scheme" in (attempt(receiver.url()).error or "")
        assert receiver.accepted == 0


def test_headers_that_cannot_be_sent_are_a_failure_that_hides_them() -> None:
    told = attempt("http://127.0.0.1:9/", headers=[("X-Token", "secret\r\nX: y")])
    assert told.error
    assert "secret" not in told.error


def test_the_client_is_shared() -> None:
    policy = Policy(frozenset({"http"}))
    assert isinstance(delivery.client(policy), Client)
    assert delivery.client(policy) is delivery.client(Policy(frozenset({"http"})))


@pytest.mark.django_db
@given(st.binary(max_size=3000) | st.sampled_from([b"\0", b"\xed\xa0\x80", b"\xff" * 2049, b"a" * 2047 + b"\xf0\x9f"]))
def test_the_database_takes_whatever_is_answered(body: bytes) -> None:
    text = delivery.text_of(body)
    told = Attempt(timezone.now(), 200, text, 1, None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb ->> 'http_response'", [json.dumps(told.shown())])
        assert cursor.fetchone()[0] == text
    assert len(text) <= KEPT_BYTES


def test_what_comes_back_whole() -> None:
    assert delivery.text_of(b"") == ""
    assert delivery.text_of("é\0ü".encode()) == "é\ufffdü"
    assert delivery.text_of(b"a\xc3") == "a\ufffd"
