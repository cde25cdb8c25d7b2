"""The name is proven, whatever address it was found at."""

from __future__ import annotations

import os
import signal
import ssl
import threading

import pytest

from egress import Client, ConnectFailed, EgressError, TlsFailed, connections
from egress.connections import default_tls
from tests.egress.server import HERE, Conversation, Server, answering, reply, resolve_here, sending, trusting


def fetch(server: Server, host: str, tls: ssl.SSLContext | None) -> bytes:
    client = Client(HERE, resolve=resolve_here, tls=tls)
    return client.fetch("GET", server.url(host=host), timeout_s=30, max_bytes=100).body


@pytest.mark.parametrize("host", ["receiver.test", "RECEIVER.test."])
def test_the_name_is_verified_at_the_address_that_was_chosen(host: str) -> None:
    with Server(answering(reply(b"ok")), tls=True) as server:
        assert fetch(server, host, trusting()) == b"ok"
        assert server.received[0].header("host") == f"receiver.test:{server.port}"


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("other.test", "Hostname mismatch"),
        ("sub.receiver.test", "Hostname mismatch"),
        ("127.0.0.1", "IP address mismatch"),
    ],
)
def test_another_name_is_refused(host: str, message: str) -> None:
    with Server(answering(reply(b"ok")), tls=True) as server:
        with pytest.raises(TlsFailed, match=f"{host} did not prove to be itself: {message}"):
            fetch(server, host, trusting())
        assert server.received == []


def test_an_authority_that_is_not_trusted_is_refused() -> None:
    with Server(answering(reply(b"ok")), tls=True) as server:
        with pytest.raises(TlsFailed, match="did not prove to be itself"):
            fetch(server, "receiver.test", None)
        assert server.received == []


def test_the_default_verifies() -> None:
    context = default_tls()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] > 0


def test_a_fork_does_not_wait_for_a_lock_of_its_parent() -> None:
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with connections._making_tls:
            held.set()
            forked.wait(60)

    threading.Thread(target=hold, daemon=True).start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if default_tls().check_hostname else 1)
    forked.set()
    assert os.waitpid(child, 0)[1] == 0


def test_a_server_without_tls() -> None:
    def talk(conversation: Conversation) -> None:
        conversation.socket.recv(1000)
        conversation.send(reply(b"plain"))
        conversation.socket.recv(1000)

    with Server(talk) as server, pytest.raises(TlsFailed, match="No encryption could be agreed on"):
        Client(HERE).fetch("GET", f"https://127.0.0.1:{server.port}/", timeout_s=30, max_bytes=100)


def test_a_server_that_closes_in_the_handshake() -> None:
    def talk(conversation: Conversation) -> None:
        conversation.socket.recv(1000)

    with Server(talk) as server, pytest.raises((TlsFailed, ConnectFailed)) as caught:
        Client(HERE).fetch("GET", f"https://127.0.0.1:{server.port}/", timeout_s=30, max_bytes=100)
    assert isinstance(caught.value, EgressError)


def test_a_connection_is_used_again() -> None:
    with Server(answering(reply(b"one"), reply(b"two")), tls=True) as server:
        client = Client(HERE, resolve=resolve_here, tls=trusting())
        url = server.url(host="receiver.test")
        bodies = [client.fetch("POST", url, body=b"x", timeout_s=30, max_bytes=100).body for _ in range(2)]
        assert (bodies, server.accepted) == ([b"one", b"two"], 1)


def test_one_that_the_server_closed_is_not() -> None:
    with Server(sending(reply(b"ok")), tls=True) as server:
        client = Client(HERE, resolve=resolve_here, tls=trusting())
        url = server.url(host="receiver.test")
        assert [client.fetch("GET", url, timeout_s=30, max_bytes=100).body for _ in range(3)] == [b"ok"] * 3
        assert server.accepted == 3


def test_what_was_left_in_an_encrypted_record_is_no_answer() -> None:
    """Bytes that came in one record with the answer wait inside TLS, where the socket does not show them."""
    extra = b"x" * 12_000 + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    with Server(answering(reply(b"ok") + extra), tls=True) as server:
        client = Client(HERE, resolve=resolve_here, tls=trusting())
        url = server.url(host="receiver.test")
        assert [client.fetch("GET", url, timeout_s=30, max_bytes=100).body for _ in range(3)] == [b"ok"] * 3
        assert server.accepted == 3
