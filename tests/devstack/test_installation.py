"""What the runner derives from the environment: where it asks, and what its processes are told."""

from __future__ import annotations

import os

import pytest

from devstack import installation
from devstack.home import Home
from devstack.servers import Servers


@pytest.mark.parametrize(
    ("bind", "host"),
    [("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("[::]", "[::1]"), ("::1", "[::1]"),
     ("192.168.1.5", "192.168.1.5"), ("localhost", "localhost")],
)  # fmt: skip
def test_where_the_server_is_reached(monkeypatch: pytest.MonkeyPatch, bind: str, host: str) -> None:
    monkeypatch.setenv("RUNYARD_BIND", bind)
    assert installation._reached_at(installation._bind()) == host


def given(home: Home) -> dict[str, str]:
    servers = Servers.of(home, {"DATABASE_URL": "postgresql:///x", "REDIS_URL": "redis://x"})
    return installation._environment_of_processes(home, servers)


@pytest.mark.parametrize(
    ("named", "hosts"),
    [("", {"localhost", "127.0.0.1", "[::1]", "10.1.2.3"}),
     ("a.test,b.test", {"a.test", "b.test", "localhost", "127.0.0.1", "[::1]", "10.1.2.3"})],
)  # fmt: skip
def test_who_is_on_the_machine_may_always_ask(
    home: Home, monkeypatch: pytest.MonkeyPatch, named: str, hosts: set[str]
) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", named)
    monkeypatch.setenv("RUNYARD_BIND", "10.1.2.3")
    assert set(given(home)["ALLOWED_HOSTS"].split(",")) == hosts


def test_an_empty_concurrency_is_an_absent_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_RUNS_CONCURRENCY", "")
    assert given(home)["RUNYARD_RUNS_CONCURRENCY"] == str(os.cpu_count())
    monkeypatch.setenv("RUNYARD_RUNS_CONCURRENCY", "7")
    assert given(home)["RUNYARD_RUNS_CONCURRENCY"] == "7"
