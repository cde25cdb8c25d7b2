"""Asking the system for addresses, within a time and a number of threads."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from egress import DnsFailed, TimedOut, resolver
from egress.resolver import resolve
from tests.egress.server import addresses


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Name servers that do not answer until this is set."""
    answered = threading.Event()

    def wait(*_: Any, **__: Any) -> Any:
        answered.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    yield answered
    answered.set()


def test_a_name_of_this_machine() -> None:
    found = resolve("localhost", 80, timeout_s=30)
    assert set(found) <= set(addresses("127.0.0.1", "::1"))
    assert len(found) == len(set(found)) > 0


def test_a_name_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(DnsFailed, match=r"nowhere\.test has no address: Name or service not known\."):
        resolve("nowhere.test", 80, timeout_s=30)


def test_silent_name_servers_hold_nobody_longer_than_asked(silence: threading.Event) -> None:
    with pytest.raises(TimedOut, match=r"did not find silent\.test in time"):
        resolve("silent.test", 80, timeout_s=0.05)


def test_no_more_threads_wait_than_allowed(silence: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "_slots", threading.Semaphore(2))
    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(TimedOut):
            resolve("silent.test", 80, timeout_s=0.05)
    assert threading.active_count() - before == 2
    silence.set()
    assert resolve("silent.test", 80, timeout_s=30) == addresses("127.0.0.1")


def test_a_fork_has_all_of_its_threads(silence: threading.Event) -> None:
    for _ in range(3):
        with pytest.raises(TimedOut):
            resolve("silent.test", 80, timeout_s=0.05)
    child = os.fork()
    if child == 0:
        taken = 0
        while resolver._slots.acquire(blocking=False):
            taken += 1
        os._exit(0 if taken == resolver.MAX_LOOKUPS else 1)
    assert os.waitpid(child, 0)[1] == 0
