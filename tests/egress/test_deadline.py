"""The time limit on everything together, against servers that keep every single read short.

None of these measures time: a limit that did not hold would leave the test waiting until it is ended.
"""

from __future__ import annotations

import gzip
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import pytest

from egress import Client, EgressError, TimedOut, deadline
from egress.addresses import Address
from egress.deadline import Deadline, Watch
from tests.egress.server import HERE, Conversation, Server, addresses, reply, resolve_here, trusting


def accepts_only(conversation: Conversation) -> None:
    conversation.server.stopped.wait()


def never_answers(conversation: Conversation) -> None:
    conversation.receive()
    conversation.server.stopped.wait()


def drips_status(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 ")
    conversation.drip(b"2")


def drips_a_header(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
    conversation.drip(b"a")


def drips_headers(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\n")
    conversation.drip(b"X: 1\r\n")


def drips_interim_answers(conversation: Conversation) -> None:
    conversation.receive()
    conversation.drip(b"HTTP/1.1 100 Continue\r\n\r\n")


def drips_a_body_of_known_length(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    conversation.drip(b"a")


def drips_a_body_until_it_closes(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\n\r\n")
    conversation.drip(b"a")


def drips_chunks(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    conversation.drip(b"1\r\na\r\n")


def drips_a_chunk_size(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    conversation.drip(b"0")


def drips_trailers(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    conversation.drip(b"X: 1\r\n")


def drips_what_inflates_to_nothing(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
    conversation.drip(gzip.compress(b""))


def stops_in_the_middle(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    conversation.server.stopped.wait()


def redirects_for_ever(conversation: Conversation) -> None:
    for number in itertools.count():
        if conversation.server.stopped.wait(0.1) or not conversation.receive():
            return
        conversation.send(reply(b"", "302 Found", f"Location: /{number}"))


def drips_the_body_of_a_redirect(conversation: Conversation) -> None:
    conversation.receive()
    conversation.send(b"HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\n")
    conversation.drip(b"a")


@pytest.mark.parametrize(
    "talk",
    [
        never_answers,
        drips_status,
        drips_a_header,
        drips_headers,
        drips_interim_answers,
        drips_a_body_of_known_length,
        drips_a_body_until_it_closes,
        drips_chunks,
        drips_a_chunk_size,
        drips_trailers,
        drips_what_inflates_to_nothing,
        stops_in_the_middle,
        redirects_for_ever,
        drips_the_body_of_a_redirect,
    ],
    ids=lambda talk: talk.__name__,
)
def test_no_server_passes_the_deadline(talk: Callable[[Conversation], None]) -> None:
    with Server(talk) as server, pytest.raises(TimedOut, match=r"no whole answer within 0\.5 s"):
        Client(HERE).fetch("GET", server.url(), timeout_s=0.5, max_bytes=10**6, max_redirects=10**6)


@pytest.mark.parametrize("truncate", [False, True], ids=["whole", "the beginning"])
def test_a_drip_over_tls_does_not_pass_either(truncate: bool) -> None:
    client = Client(HERE, resolve=resolve_here, tls=trusting())
    with Server(drips_a_header, tls=True) as server, pytest.raises(TimedOut):
        client.fetch("GET", server.url(host="receiver.test"), timeout_s=1, max_bytes=2048, truncate=truncate)


def test_a_drip_on_a_kept_connection_does_not_pass_either() -> None:
    def talk(conversation: Conversation) -> None:
        conversation.receive()
        conversation.send(reply(b"ok"))
        drips_a_header(conversation)

    with Server(talk) as server:
        client = Client(HERE)
        client.fetch("GET", server.url(), timeout_s=30, max_bytes=100)
        with pytest.raises(TimedOut):
            client.fetch("GET", server.url(), timeout_s=0.5, max_bytes=100)
        assert (server.accepted, len(server.received)) == (1, 2)


def drips_a_handshake(conversation: Conversation) -> None:
    conversation.send(b"\x16\x03\x03\x40\x00")  # 16 KiB of handshake follow
    conversation.drip(b"\x02")


def test_a_drip_in_the_handshake_does_not_pass_either() -> None:
    with Server(drips_a_handshake) as server, pytest.raises(TimedOut):
        Client(HERE).fetch("GET", f"https://127.0.0.1:{server.port}/", timeout_s=0.5, max_bytes=100)


def test_a_handshake_that_is_not_answered() -> None:
    with Server(accepts_only) as server, pytest.raises(TimedOut):
        Client(HERE).fetch("GET", f"https://127.0.0.1:{server.port}/", timeout_s=0.5, max_bytes=100)


def test_a_body_that_is_not_taken() -> None:
    with Server(accepts_only) as server, pytest.raises(TimedOut):
        Client(HERE).fetch("POST", server.url(), body=bytes(50_000_000), timeout_s=0.5, max_bytes=100)


def test_a_name_that_is_not_found_in_time() -> None:
    given: list[float] = []

    def slow(host: str, port: int, *, timeout_s: float) -> list[Address]:
        given.append(timeout_s)
        time.sleep(0.2)
        return addresses("127.0.0.1")

    with Server(never_answers) as server, pytest.raises(TimedOut):
        Client(HERE, resolve=slow).fetch("GET", server.url(host="slow.test"), timeout_s=0.1, max_bytes=100)
    assert server.received == []
    assert 0 < given[0] <= 0.1


def test_no_time_at_all() -> None:
    with Server(never_answers) as server, pytest.raises(TimedOut):
        Client(HERE).fetch("GET", server.url(), timeout_s=0, max_bytes=100)


def test_a_sooner_deadline_wakes_the_watch_that_waits_for_a_later_one() -> None:
    with Server(never_answers) as server:
        client = Client(HERE)
        later = threading.Thread(target=lambda: fetch_quietly(client, server.url(), 60), daemon=True)
        later.start()
        while not server.received:
            time.sleep(0.01)
        with pytest.raises(TimedOut):
            client.fetch("GET", server.url(), timeout_s=0.3, max_bytes=100)


def fetch_quietly(client: Client, url: str, timeout_s: float) -> str:
    try:
        return client.fetch("GET", url, timeout_s=timeout_s, max_bytes=100).body.decode()
    except EgressError as error:
        return error.code


def test_one_thread_watches_many_requests() -> None:
    with Server(drips_a_header) as server:
        client, outcomes = Client(HERE), list[str]()
        threads = [
            threading.Thread(target=lambda: outcomes.append(fetch_quietly(client, server.url(), 1.0)))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        assert [thread.name for thread in threading.enumerate()].count("deadlines") == 1
        for thread in threads:
            thread.join(60)
        assert outcomes == ["TIMED_OUT"] * 20


def test_a_fork_watches_its_own() -> None:
    """Even if it was made in the moment in which another thread held the parent's lock."""
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with deadline._watch._changed:
            held.set()
            forked.wait(60)

    with Server(drips_a_header) as server:
        assert fetch_quietly(Client(HERE), server.url(), 0.2) == "TIMED_OUT"  # the parent's watch runs
        threading.Thread(target=hold, daemon=True).start()
        held.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if fetch_quietly(Client(HERE), server.url(), 0.3) == "TIMED_OUT" else 1)
        forked.set()
        assert os.waitpid(child, 0)[1] == 0


def test_nothing_is_held_for_a_request_that_has_ended() -> None:
    left, right = socket.socketpair()
    watch = Watch()
    with left, right:
        with Deadline(60) as ends:
            watch.add(ends)
            ends.guard(left)
        watch.remove(ends)
        ends.expire()  # too late to do anything
        left.sendall(b"still open")
        assert right.recv(10) == b"still open"
        assert watch._running == set()
        assert ends._socket is None


def test_what_expires_is_shut_down_for_both_sides() -> None:
    left, right = socket.socketpair()
    with left, right, Deadline(60) as ends:
        ends.guard(left)
        ends.expire()
        assert (left.recv(1), right.recv(1)) == (b"", b"")
