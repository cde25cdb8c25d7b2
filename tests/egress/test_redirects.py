"""Answers that lead on: followed only when asked, each hop checked anew, credentials left behind."""

from __future__ import annotations

import pytest

from egress import (
    BadAnswer,
    BadUrl,
    Client,
    EgressError,
    Policy,
    RefusedAddress,
    TooManyRedirects,
)
from egress.addresses import Address
from tests.egress.server import HERE, Conversation, Server, Talk, addresses, answering, reply, resolve_here

PLAIN = Policy(schemes=frozenset({"http"}), allow_private=True)


def leading(to: str, status: str = "302 Found", body: bytes = b"") -> bytes:
    return reply(body, status, f"Location: {to}")


def route(**answers: bytes) -> Talk:
    """Answer by path: `a` for /a, and `ok` for what is not named."""

    def talk(conversation: Conversation) -> None:
        while received := conversation.receive():
            conversation.send(answers.get(received.path.lstrip("/"), reply(b"ok")))

    return talk


def test_nothing_is_followed_unasked() -> None:
    with Server(answering(leading("/next", body=b"moved"))) as server:
        answer = Client(HERE).fetch("GET", server.url(), timeout_s=30, max_bytes=100)
        assert (answer.status, answer.header("location"), answer.body) == (302, "/next", b"moved")
        assert len(server.received) == 1


def test_the_way_of_an_answer() -> None:
    with Server(route()) as server:
        onward = leading(f"//127.0.0.1:{server.port}/c", "308 There")
        server.talk = route(a=leading("b?x=1#frag"), **{"b?x=1": onward})
        answer = Client(HERE).fetch("GET", server.url("/a"), timeout_s=30, max_bytes=100, max_redirects=2)
        assert (answer.status, answer.body, answer.url) == (200, b"ok", server.url("/c"))
        assert answer.redirects == (server.url("/a"), server.url("/b?x=1"))
        assert server.accepted == 1


@pytest.mark.parametrize(("max_redirects", "requests"), [(1, 2), (5, 6)])
def test_loops_end(max_redirects: int, requests: int) -> None:
    with Server(answering(leading("/again"))) as server:
        with pytest.raises(TooManyRedirects, match=f"after {max_redirects} redirects"):
            Client(HERE).fetch("GET", server.url(), timeout_s=30, max_bytes=100, max_redirects=max_redirects)
        assert len(server.received) == requests


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://169.254.169.254/latest/meta-data/", RefusedAddress),
        ("http://[fd00:ec2::254]/latest/meta-data/", RefusedAddress),
        ("http://0xa9fea9fe/", RefusedAddress),
        ("//169.254.169.254/", RefusedAddress),
        ("http://metadata.test/", RefusedAddress),
        ("http://[::ffff:127.0.0.1]/", RefusedAddress),
        ("file:///etc/passwd", BadUrl),
        ("gopher://127.0.0.1:6379/_FLUSHALL", BadUrl),
        ("javascript:alert(1)", BadUrl),
        ("data:text/plain,x", BadUrl),
        ("https://127.0.0.1/", BadUrl),
        ("http://user:password@127.0.0.1/", BadUrl),
        ("http://[::1", BadUrl),
        ("\\\\169.254.169.254\\", BadUrl),
    ],
)
def test_where_no_redirect_leads(location: str, error: type[EgressError]) -> None:
    def resolve(host: str, port: int, *, timeout_s: float) -> list[Address]:
        return addresses("169.254.169.254")

    with Server(answering(leading(location))) as server:
        with pytest.raises(error):
            Client(PLAIN, resolve=resolve).fetch("GET", server.url(), timeout_s=30, max_bytes=100, max_redirects=9)
        assert len(server.received) == 1


def test_loopback_is_no_way_from_a_public_page() -> None:
    """The first hop may be anything; what it leads to is judged by itself."""
    opened = Client(HERE, resolve=resolve_here)
    with Server(answering(reply(b"inside"))) as inside:
        with Server(answering(leading(inside.url(host="inside.test")))) as server:
            url = server.url(host="outside.test")
            assert opened.fetch("GET", url, timeout_s=30, max_bytes=100, max_redirects=1).body == b"inside"
            # The same name, found elsewhere for the second hop.
            found = [addresses("127.0.0.1"), addresses("10.255.255.1", "fe80::1")]
            rebinding = Client(HERE, resolve=lambda *_, **__: found.pop(0))
            with pytest.raises(RefusedAddress, match=r"inside\.test"):
                rebinding.fetch("GET", url, timeout_s=30, max_bytes=100, max_redirects=1)
        assert len(inside.received) == 1


SENT = {
    "Authorization": "Bearer secret",
    "Cookie": "session=secret",
    "X-API-Key": "secret",
    "X-Custom-Token": "secret",
    "Accept": "text/html",
    "Accept-Language": "fr",
    "User-Agent": "mine",
}


def fetch_sending(server: Server, *, max_redirects: int) -> None:
    options = {"timeout_s": 30, "max_bytes": 100, "max_redirects": max_redirects}
    Client(HERE).fetch("GET", server.url("/start"), headers=SENT, **options)


def test_credentials_stay_with_their_origin() -> None:
    with Server(route()) as server, Server(route()) as other:
        server.talk = route(start=leading("/same"), same=leading(other.url("/away")))
        fetch_sending(server, max_redirects=2)
    assert [received.path for received in server.received] == ["/start", "/same"]
    assert all(received.header(name.lower()) == SENT[name] for received in server.received for name in SENT)
    away = other.received[0]
    assert "secret" not in str(away.headers)
    assert (away.header("accept"), away.header("accept-language")) == ("text/html", "fr")
    assert (away.header("user-agent"), away.header("host")) == ("mine", f"127.0.0.1:{other.port}")


def test_credentials_that_were_left_behind_are_not_sent_on_the_way_back() -> None:
    with Server(route()) as server, Server(route()) as other:
        server.talk = route(start=leading(other.url("/away")))
        other.talk = route(away=leading(server.url("/end")))
        fetch_sending(server, max_redirects=2)
    assert [received.path for received in server.received] == ["/start", "/end"]
    assert "secret" not in str(server.received[1].headers)


def test_another_name_for_the_same_server_is_another_origin() -> None:
    with Server(route(), host="127.0.0.1") as server:
        server.talk = route(start=leading(server.url("/end", host="b.test")))
        client = Client(HERE, resolve=resolve_here)
        url = server.url("/start", host="a.test")
        client.fetch("GET", url, headers=SENT, timeout_s=30, max_bytes=100, max_redirects=1)
        assert server.received[1].header("authorization") is None


@pytest.mark.parametrize(
    ("method", "status", "then", "keeps_body"),
    [
        ("GET", "301 x", "GET", True),
        ("POST", "301 x", "GET", False),
        ("POST", "302 x", "GET", False),
        ("POST", "303 x", "GET", False),
        ("POST", "307 x", "POST", True),
        ("POST", "308 x", "POST", True),
        ("PUT", "301 x", "PUT", True),
        ("PUT", "302 x", "PUT", True),
        ("PUT", "303 x", "GET", False),
        ("DELETE", "303 x", "GET", False),
        ("HEAD", "303 x", "HEAD", True),
        ("HEAD", "302 x", "HEAD", True),
    ],
)
def test_methods_and_bodies(method: str, status: str, then: str, keeps_body: bool) -> None:
    with Server(route(start=leading("/end", status))) as server:
        if method == "HEAD":
            server.talk = route(start=f"HTTP/1.1 {status}\r\nLocation: /end\r\n\r\n".encode(), end=reply())
        body, headers = (b"body", {"Content-Type": "text/plain", "X": "1"}) if method in {"POST", "PUT"} else (b"", {})
        Client(HERE).fetch(
            method, server.url("/start"), headers=headers, body=body, timeout_s=30, max_bytes=100, max_redirects=1
        )
        end = server.received[1]
        assert (end.method, end.body) == (then, body if keeps_body else b"")
        assert end.header("content-type") == (headers.get("Content-Type") if keeps_body else None)
        assert end.header("x") == headers.get("X")


@pytest.mark.parametrize(
    "answer",
    [
        leading("/next", "300 Choices"),
        leading("/next", "304 Same"),
        leading("/next", "201 Made"),
        reply(b"", "302 x"),
        leading(""),
    ],
    ids=["300", "304", "201", "no location", "empty location"],
)
def test_what_does_not_lead_on(answer: bytes) -> None:
    with Server(answering(answer)) as server:
        Client(HERE).fetch("GET", server.url(), timeout_s=30, max_bytes=100, max_redirects=9)
        assert len(server.received) == 1


def test_two_places_at_once() -> None:
    answer = reply(b"", "302 Found", "Location: /a", "Location: /b")
    with Server(answering(answer)) as server, pytest.raises(BadAnswer, match="more than one place"):
        Client(HERE).fetch("GET", server.url(), timeout_s=30, max_bytes=100, max_redirects=9)


@pytest.mark.parametrize(
    ("location", "path"),
    [("/é".encode(), "/%C3%A9"), (b"/\xe9", "/%E9"), (b"/a b", "/a%20b"), (b"?q", "/start?q")],
    ids=["utf-8", "not utf-8", "space", "query"],
)
def test_locations_that_are_not_quite_urls(location: bytes, path: str) -> None:
    with Server(route(start=b"HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")) as server:
        Client(HERE).fetch("GET", server.url("/start"), timeout_s=30, max_bytes=100, max_redirects=1)
        assert server.received[-1].path == path


def test_the_body_of_a_redirect_is_not_the_answers() -> None:
    """A bomb, or more than is taken, on the way to an answer that is neither."""
    large = leading("/end", body=bytes(50_000)).replace(b"Location", b"Content-Encoding: gzip\r\nLocation")
    with Server(route(start=large)) as server:
        answer = Client(HERE).fetch("GET", server.url("/start"), timeout_s=30, max_bytes=10, max_redirects=1)
        assert (answer.body, server.accepted) == (b"ok", 2)
