"""Requests and answers over real sockets: what is sent, and what is taken."""

from __future__ import annotations

import gzip
import logging
import os
import tomllib
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egress import BadAnswer, BadRequest, BadUrl, Client, EgressError, Policy, TooLarge, fetch
from egress.request import USER_AGENT
from tests.egress.server import CHUNKED, HERE, Conversation, Server, answering, get, reply, sending

PLAIN = Policy(schemes=frozenset({"http"}), allow_private=True)
ROOT = Path(__file__).resolve().parent.parent.parent


# --- What is sent -----------------------------------------------------------------------------------------------


def test_a_request_and_its_answer() -> None:
    with Server(answering(reply(b"made", "201 Made Up", "X-One: 1", "X-Two: 2", "x-one: 3"))) as server:
        answer = fetch(
            "post",
            server.url("/a b?c=d#e"),
            policy=HERE,
            headers=[("X-Mine", "1"), ("x-mine", "2"), ("Content-Type", "text/plain")],
            body=b"body",
            timeout_s=30,
            max_bytes=100,
        )
        received = server.received[0]
    assert (received.method, received.path, received.body) == ("POST", "/a%20b?c=d", b"body")
    assert received.headers == [
        ("Host", f"127.0.0.1:{server.port}"),
        ("Content-Length", "4"),
        ("X-Mine", "1"),
        ("X-Mine", "2"),
        ("Content-Type", "text/plain"),
        ("User-Agent", USER_AGENT),
        ("Accept-Encoding", "gzip, deflate"),
    ]
    assert (answer.status, answer.reason, answer.body, answer.truncated) == (201, "Made Up", b"made", False)
    assert (answer.header("X-ONE"), answer.header("x-two"), answer.header("x-three")) == ("1", "2", None)
    assert [value for name, value in answer.headers if name.lower() == "x-one"] == ["1", "3"]
    assert (answer.url, answer.redirects) == (server.url("/a%20b?c=d"), ())


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_methods_without_a_body(method: str) -> None:
    with Server(answering(reply())) as server:
        Client(HERE).fetch(method, server.url(), timeout_s=30, max_bytes=10)
        assert server.received[0].method == method
        assert server.received[0].header("content-length") in (None, "0")
        assert server.received[0].header("transfer-encoding") is None


def test_what_the_caller_says_of_itself_stands() -> None:
    with Server(answering(reply())) as server:
        get(server, headers={"user-agent": "mine", "ACCEPT-ENCODING": "br"}, decompress=False)
        assert server.received[0].header("user-agent") == "mine"
        assert server.received[0].header("accept-encoding") == "br"
        get(server, decompress=False)
        assert server.received[1].header("accept-encoding") == "identity"


def test_the_user_agent_has_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Runyard/{project['version']}" == USER_AGENT


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET /\r\nX: 1", {}),
        ("GET ", {}),
        ("", {}),
        ("GÉT", {}),
        ("CONNECT", {}),
        ("connect", {}),
        ("GET", {"X\r\nY": "1"}),
        ("GET", {"X:": "1"}),
        ("GET", {"X Y": "1"}),
        ("GET", {"": "1"}),
        ("GET", {"Ü": "1"}),
        ("GET", {"X": "1\r\nY: 2"}),
        ("GET", {"X": "1\nY: 2"}),
        ("GET", {"X": "1\rY: 2"}),
        ("GET", {"X": "1\r\n Y: folded"}),
        ("GET", {"X": "1\x00"}),
        ("GET", {"X": "1\x7f"}),
        ("GET", {"X": "€"}),
        ("GET", {"X": "\u010d\u010a"}),
        ("GET", [("Ok", "1"), ("X", "\n")]),
        ("GET", {"Host": "other.test"}),
        ("GET", {"hOsT": "other.test"}),
        ("GET", {"Content-Length": "0"}),
        ("GET", {"Transfer-Encoding": "chunked"}),
        ("GET", {"Connection": "close"}),
        ("GET", {"Upgrade": "websocket"}),
        ("GET", {"Expect": "100-continue"}),
        ("GET", {"Proxy-Authorization": "Basic x"}),
        ("GET", {"TE": "trailers"}),
    ],
)
def test_what_would_be_another_request_is_not_sent(method: str, headers: Any) -> None:
    with Server(answering(reply())) as server:
        with pytest.raises(BadRequest):
            Client(HERE).fetch(method, server.url(), headers=headers, timeout_s=30, max_bytes=10)
        assert server.accepted == 0


def test_a_refused_header_does_not_show_its_value() -> None:
    with pytest.raises(BadRequest) as caught:
        Client(HERE).fetch("GET", "https://a.test", headers={"X": "secret\n"}, timeout_s=1, max_bytes=1)
    assert "secret" not in caught.value.message


def test_a_bad_url_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadUrl, match="scheme"):
        Client(Policy()).fetch("GET", "http://example.com", timeout_s=1, max_bytes=1)


def test_nothing_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    (tmp_path / ".netrc").write_text(netrc.read_text())
    with Server(answering(reply(b"proxy"))) as proxy, Server(answering(reply(b"itself"))) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            value = "" if name == "no_proxy" else proxy.url()
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.upper(), value)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(tmp_path))
        assert get(server).body == b"itself"
        assert (proxy.accepted, server.received[0].header("authorization")) == (0, None)


def test_cookies_are_not_kept() -> None:
    with Server(answering(reply(b"", "200 OK", "Set-Cookie: a=b"))) as server:
        client = Client(HERE)
        assert get(server, client=client).header("set-cookie") == "a=b"
        get(server, client=client)
        assert server.received[1].header("cookie") is None


# --- What is taken ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"0123456789"),
        CHUNKED + b"4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\nX: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n0123456789",
        b"HTTP/1.0 200 OK\r\n\r\n0123456789",
        b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + reply(b"0123456789"),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"0123456789"),
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 X\r\n\r\n" + reply(b"0123456789"),
    ],
    ids=["length", "chunks", "close", "1.0", "interim", "hints", "many interim"],
)
def test_bodies_are_read_whole_cut_or_refused(answer: bytes) -> None:
    with Server(sending(answer)) as server:
        for max_bytes in (10, 11):
            assert get(server, max_bytes=max_bytes).body == b"0123456789"
        cut = get(server, max_bytes=9, truncate=True)
        assert (cut.body, cut.truncated) == (b"012345678", True)
        whole = get(server, max_bytes=10, truncate=True)
        assert (whole.body, whole.truncated) == (b"0123456789", False)
        with pytest.raises(TooLarge, match="more than 9"):
            get(server, max_bytes=9)


def endless(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while not conversation.server.stopped.is_set():
        conversation.send(bytes(65536))


def test_a_body_without_an_end() -> None:
    with Server(endless) as server:
        with pytest.raises(TooLarge):
            get(server, max_bytes=100_000)
        assert get(server, max_bytes=100_000, truncate=True).body == bytes(100_000)


def test_a_body_that_is_said_to_be_too_large_is_not_read() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"
    with Server(sending(answer)) as server, pytest.raises(TooLarge, match="1001 bytes, more than 1000"):
        get(server)


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"text" * 50)),
        ("X-GZIP", gzip.compress(b"text" * 50)),
        ("gzip", gzip.compress(b"text" * 20) + gzip.compress(b"text" * 30)),
        ("gzip", gzip.compress(b"text" * 50) + bytes(20)),
        ("deflate", zlib.compress(b"text" * 50)),
        ("deflate", raw_deflate(b"text" * 50)),
        ("identity", b"text" * 50),
    ],
    ids=["gzip", "x-gzip", "two members", "padding", "deflate", "raw deflate", "identity"],
)
def test_compressed_bodies(coding: str, body: bytes) -> None:
    with Server(answering(reply(body, "200 OK", f"Content-Encoding: {coding}"))) as server:
        assert get(server, max_bytes=200).body == b"text" * 50
        assert get(server, decompress=False).body == body
        cut = get(server, max_bytes=199, truncate=True)
        assert (len(cut.body), cut.truncated) == (199, True)
        with pytest.raises(TooLarge):
            get(server, max_bytes=199)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(bytes(200_000_000), 9),
        gzip.compress(bytes(1000)) * 1000,
        gzip.compress(b"") * 100_000,
    ],
    ids=["one member", "many members", "many empty members"],
)
def test_a_bomb_does_not_go_off(body: bytes, request: pytest.FixtureRequest) -> None:
    """Neither does it come through, nor is more of it inflated on the way than is taken."""
    with Server(answering(reply(body, "200 OK", "Content-Encoding: gzip"))) as server:
        request.addfinalizer(tracemalloc.stop)
        tracemalloc.start()
        with pytest.raises(TooLarge):
            get(server, max_bytes=500_000)
        assert len(get(server, max_bytes=500_000, truncate=True).body) <= 500_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000  # a piece of the first inflates to 16 MB


def test_a_stream_that_inflates_to_nothing_is_counted_as_it_comes() -> None:
    """Stored blocks of no length: megabytes that stand for not one byte."""

    def talk(conversation: Conversation) -> None:
        conversation.receive()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n\x78\x9c")
        while not conversation.server.stopped.is_set():
            conversation.send(b"\x00\x00\x00\xff\xff" * 10_000)

    with Server(talk) as server, pytest.raises(TooLarge):
        get(server, max_bytes=1_000_000)


@pytest.mark.parametrize(
    ("coding", "body", "message"),
    [
        ("gzip", b"not gzip at all", "not compressed as"),
        ("deflate", b"\xff\xff\xff\xff", "not compressed as"),
        ("gzip", gzip.compress(b"text" * 500)[:-20], "broke off"),
        ("deflate", zlib.compress(os.urandom(500))[:-20], "broke off"),
        ("br", b"x", "'br', which was not offered"),
        ("zstd", b"x", "'zstd', which was not offered"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x")), "was not offered"),
    ],
    ids=["no gzip", "no deflate", "cut gzip", "cut deflate", "br", "zstd", "twice"],
)
def test_bodies_that_are_not_what_they_say(coding: str, body: bytes, message: str) -> None:
    with Server(answering(reply(body, "200 OK", f"Content-Encoding: {coding}"))) as server:
        with pytest.raises(BadAnswer, match=message):
            get(server, max_bytes=10_000)
        assert get(server, max_bytes=10_000, decompress=False).body == body


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answers_without_a_body(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Encoding: br\r\n\r\n".encode()
    with Server(answering(answer)) as server:
        client = Client(HERE)
        assert [get(server, client=client).body for _ in range(2)] == [b"", b""]
        assert server.accepted == 1


def test_the_head_of_a_large_body() -> None:
    with Server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\nContent-Encoding: br\r\n\r\n")) as server:
        answer = Client(HERE).fetch("HEAD", server.url(), timeout_s=30, max_bytes=10)
        assert (answer.body, answer.header("content-length")) == (b"", "99999")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "without an answer"),
        (b"\r\n", "not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 99 Low\r\n\r\n", "not HTTP"),
        (b"x" * 70_000, "more than 65536 bytes"),
        (b"HTTP/1.1 200 " + b"x" * 70_000, "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"x" * 1000 + b"\r\n") * 90 + b"\r\n", "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n", "not HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, "more than 65536 bytes"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "not asked for"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", "without an answer"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000, "more than 65536 bytes"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n" + reply(), "not asked for"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "not asked for"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345", "broke off"),
        (CHUNKED + b"9\r\n12345", "broke off"),
        (CHUNKED + b"5\r\n12345\r\n", "broke off"),
        (CHUNKED + b"x\r\n12345\r\n", "broke off"),
        (CHUNKED + b"-1\r\n12345\r\n", "broke off"),
        (CHUNKED + b"1" * 70_000, "broke off"),
    ],
    ids=[
        "nothing",
        "empty line",
        "ssh",
        "http 2",
        "no number",
        "status 99",
        "long line",
        "long reason",
        "long header",
        "many bytes",
        "many headers",
        "many interim",
        "101",
        "103 alone",
        "many 103",
        "101 after 103",
        "coding",
        "two lengths",
        "cut body",
        "cut chunk",
        "cut between chunks",
        "no chunk size",
        "negative chunk",
        "long chunk size",
    ],
)
def test_what_is_not_an_answer(answer: bytes, message: str) -> None:
    with Server(sending(answer)) as server, pytest.raises(BadAnswer, match=message) as caught:
        get(server, max_bytes=10**6)
    assert "SSH" not in caught.value.message


FRAGMENTS = [
    b"HTTP/1.1 ",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: ",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate\r\n",
    b"Connection: close\r\n",
    b" folded\r\n",
    b"http://[::1",
    b"5",
    b"\r\n",
    b"\r\n\r\n",
    gzip.compress(b"text"),
]


@given(
    st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=10), max_size=8).map(b"".join),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.booleans(),
    st.integers(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_is_an_answer_or_an_error_of_ours(
    sent: bytes, method: str, truncate: bool, max_redirects: int
) -> None:
    with Server(sending(sent)) as server, suppress(EgressError):
        answer = Client(PLAIN).fetch(
            method, server.url(), timeout_s=30, max_bytes=5, truncate=truncate, max_redirects=max_redirects
        )
        assert 200 <= answer.status <= 999
        assert len(answer.body) <= 5


def test_what_headers_may_not_hold_becomes_space() -> None:
    with Server(sending(b"HTTP/1.1 200 O\x00K\r\nX: a\x00b\xe9\r\nContent-Length: 0\r\n\r\n")) as server:
        answer = get(server)
        assert (answer.reason, answer.header("x")) == ("O K", "a bé")


def test_nothing_of_url_or_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    defective = b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with caplog.at_level(logging.DEBUG), Server(sending(defective)) as server:
        get(server)
    assert caplog.records == []
