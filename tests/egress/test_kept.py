"""Connections that are used again: which are, which may not be, and that none is left open."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from egress import BadAnswer, Client, EgressError, Policy, TooLarge
from egress.kept import MAX_KEPT
from tests.egress.server import CHUNKED, HERE, Conversation, Server, Talk, answering, get, reply, resolve_here, sending

PLAIN = Policy(schemes=frozenset({"http"}), allow_private=True)


def test_a_connection_is_used_again() -> None:
    with Server(answering(reply(b"one"), CHUNKED + b"3\r\ntwo\r\n0\r\n\r\n", reply(b"more"))) as server:
        client = Client(HERE)
        assert [get(server, client=client).body for _ in range(3)] == [b"one", b"two", b"more"]
        assert server.accepted == 1
        client.close()
        get(server, client=client)
        assert server.accepted == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"ok" + b"x" * 2998,
    ],
    ids=["close", "1.0", "an answer too many", "bytes too many", "not read to its end"],
)
def test_a_connection_that_may_not_be_used_again(answer: bytes) -> None:
    with Server(answering(answer)) as server:
        client = Client(HERE)
        for _ in range(3):
            assert get(server, client=client, max_bytes=2, truncate=True).body == b"ok"
        # What came in one read with the answer went with it; what comes later makes the connection unfit.
        assert server.accepted in ((1, 2, 3) if b"evil" in answer else (3,))


def test_a_connection_on_which_something_failed_is_not_used_again() -> None:
    with Server(answering(reply(b"12345"))) as server:
        client = Client(HERE)
        for _ in range(2):
            with pytest.raises(TooLarge):
                get(server, client=client, max_bytes=4)
        assert server.accepted == 2


@pytest.mark.parametrize(("scheme", "accepted"), [("NTLM", 3), ("negotiate", 3), ("Basic", 1), ("Bearer", 1)])
def test_a_connection_that_knows_who_is_calling_is_not_used_again(scheme: str, accepted: int) -> None:
    with Server(answering(reply(b"ok"))) as server:
        client = Client(HERE)
        for headers in ({}, {"authorization": f"{scheme} secret"}, {"Authorization": f"{scheme} secret"}, {}):
            get(server, client=client, headers=headers)
        assert server.accepted == accepted


def closing_after(count: int, *, reads_next: bool) -> Talk:
    """Answer so many requests of each connection, then close it: at once, or when the next request is there."""

    def talk(conversation: Conversation) -> None:
        for _ in range(count):
            conversation.receive()
            conversation.send(reply(b"ok"))
        if reads_next:
            conversation.receive()

    return talk


def test_a_connection_that_the_server_closed_meanwhile() -> None:
    with Server(closing_after(1, reads_next=False)) as server:
        client = Client(HERE)
        for expected in (1, 2, 3):
            answer = client.fetch("POST", server.url(), body=b"x", timeout_s=30, max_bytes=10)
            assert (answer.body, server.accepted) == (b"ok", expected)
            wait_until_closed(client)


def wait_until_closed(client: Client) -> None:
    """Wait until the end of the kept connection has arrived, which is not when the server closed it."""
    for _ in range(1000):
        if not any(connection.is_quiet for connection in client._kept._kept):
            return
        time.sleep(0.01)
    raise AssertionError("the server did not close")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_what_is_idempotent_is_sent_again_when_a_kept_connection_closes(method: str) -> None:
    with Server(closing_after(1, reads_next=True)) as server:
        client = Client(HERE)
        for _ in range(2):
            assert client.fetch(method, server.url(), timeout_s=30, max_bytes=10).status == 200
        assert (server.accepted, len(server.received)) == (2, 3)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_may_have_been_acted_on_is_not_sent_again(method: str) -> None:
    with Server(closing_after(1, reads_next=True)) as server:
        client = Client(HERE)
        client.fetch(method, server.url(), timeout_s=30, max_bytes=10)
        with pytest.raises(BadAnswer, match="without an answer"):
            client.fetch(method, server.url(), timeout_s=30, max_bytes=10)
        assert (server.accepted, len(server.received)) == (1, 2)


def test_what_may_repeat_is_sent_again_when_a_kept_connection_closes() -> None:
    with Server(closing_after(1, reads_next=True)) as server:
        client = Client(HERE)
        for _ in range(2):
            answer = client.fetch("POST", server.url(), body=b"x", timeout_s=30, max_bytes=10, may_repeat=True)
            assert answer.status == 200
        assert (server.accepted, [received.body for received in server.received]) == (2, [b"x"] * 3)


def test_what_may_repeat_is_not_sent_again_when_a_new_connection_closes() -> None:
    with Server(closing_after(0, reads_next=True)) as server:
        with pytest.raises(BadAnswer, match="without an answer"):
            Client(HERE).fetch("POST", server.url(), timeout_s=30, max_bytes=10, may_repeat=True)
        assert len(server.received) == 1


def test_a_new_connection_that_closes_is_an_answer_that_is_not_there() -> None:
    with Server(closing_after(0, reads_next=True)) as server:
        with pytest.raises(BadAnswer, match="without an answer"):
            get(server)
        assert len(server.received) == 1


def test_an_answer_that_comes_before_the_body_is_taken() -> None:
    def talk(conversation: Conversation) -> None:
        conversation.send(reply(b"no", "413 Too Large", "Connection: close"))
        conversation.socket.shutdown(socket.SHUT_WR)
        while conversation.socket.recv(65536):
            pass

    with Server(talk) as server:
        answer = Client(HERE).fetch("POST", server.url(), body=bytes(5_000_000), timeout_s=30, max_bytes=10)
        assert (answer.status, answer.body) == (413, b"no")


def test_connections_are_kept_by_origin_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egress.kept.MAX_KEPT", 2)
    assert MAX_KEPT > 2
    with Server(answering(reply())) as server:
        client = Client(HERE, resolve=resolve_here)
        for host in ("a.test", "b.test", "a.test", "b.test", "c.test", "a.test", "c.test"):
            client.fetch("GET", server.url(host=host), timeout_s=30, max_bytes=10)
        # c.test took the place of a.test, the one used least lately, and a.test then that of b.test.
        assert server.accepted == 4


def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(answering(reply())) as server:
        client = Client(HERE)
        get(server, client=client)
        monkeypatch.setattr("egress.kept.MAX_AGE_S", 0)
        get(server, client=client)
        assert (server.accepted, client._kept._kept) == (2, [])


def test_threads_share_a_client() -> None:
    def talk(conversation: Conversation) -> None:
        while received := conversation.receive():
            conversation.send(reply(received.path.encode()))

    with Server(talk) as server:
        client, wrong = Client(HERE), list[str]()

        def work(worker: int) -> None:
            for number in range(50):
                path = f"/{worker}/{number}"
                if client.fetch("GET", server.url(path), timeout_s=60, max_bytes=100).body.decode() != path:
                    wrong.append(path)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert (wrong, len(server.received)) == ([], 500)
        assert server.accepted <= 10


def test_a_fork_opens_connections_of_its_own() -> None:
    with Server(answering(reply(b"ok"))) as server:
        client = Client(HERE)
        get(server, client=client)
        with client._kept._lock:  # held by another thread, as far as the child can see
            child = os.fork()
            if child == 0:
                os._exit(0 if get(server, client=client).body == b"ok" else 1)
            assert os.waitpid(child, 0)[1] == 0
        assert server.accepted == 2
        assert get(server, client=client).body == b"ok"
        assert server.accepted == 2


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are not listed here")
def test_no_file_is_left_open() -> None:
    answers = [reply(b"ok"), b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2000), b"SSH\r\n", b"", CHUNKED + b"9\r\n1", b"HTTP/1."]
    for answer in answers:
        with Server(sending(answer)) as server:
            before = open_files()
            client, errors = Client(HERE), list[EgressError]()
            for _ in range(20):
                try:
                    get(server, client=client)
                except EgressError as error:
                    errors.append(error)  # which keeps the frames that it came through
            client.close()
            # The server's side of each closes a moment later.
            assert settles_at_most(before + 1), answer


def settles_at_most(count: int) -> bool:
    for _ in range(500):
        if open_files() <= count:
            return True
        time.sleep(0.01)
    return False
