from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest
import redis

from devstack.errors import DevstackError
from devstack.home import Home
from devstack.processes import alive, wait_until
from devstack.servers import Servers


def postgres(servers: Servers) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(servers.environment()["DATABASE_URL"], autocommit=True)


def valkey(servers: Servers) -> redis.Redis:
    assert servers.valkey
    return redis.Redis(unix_socket_path=str(servers.valkey.socket))


def test_data_outlives_a_stop_and_a_kill(new_servers: Servers) -> None:
    servers = new_servers
    assert servers.start() == []
    with postgres(servers) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('stop')")
    valkey(servers).set("word", "stop")
    servers.stop()

    assert servers.start() == []
    with postgres(servers) as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("stop",)]
        connection.execute("INSERT INTO kept VALUES ('kill')")
    assert valkey(servers).get("word") == b"stop"
    for server in servers.embedded():
        os.kill(server.pid() or 0, signal.SIGKILL)

    assert servers.start() == []
    with postgres(servers) as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("stop",), ("kill",)]
    assert valkey(servers).get("word") == b"stop"


def test_running_servers_are_adopted_by_a_later_start(servers: Servers, home: Home) -> None:
    servers.start()
    pids = [server.pid() for server in servers.embedded()]

    later = Servers.of(home, {})
    assert later.start() == ["PostgreSQL", "Valkey"]
    assert [server.pid() for server in later.embedded()] == pids
    assert later.dead() == []


def test_servers_whose_sockets_are_gone_are_replaced(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devstack.server.ADOPT_SECONDS", 0.5)
    servers.start()
    pids = [server.pid() for server in servers.embedded()]
    for socket in servers.home.sockets.iterdir():
        socket.unlink()

    assert servers.start() == []
    assert all(server.answers() for server in servers.embedded())
    assert all(pid and not alive(pid) for pid in pids)


def test_a_stopped_server_leaves_no_process_and_no_socket(servers: Servers) -> None:
    servers.start()
    pids = [server.pid() or 0 for server in servers.embedded()]
    servers.stop()
    assert not any(alive(pid) for pid in pids)
    assert not servers.home.sockets.exists()
    assert [server.name for server in servers.dead()] == ["PostgreSQL", "Valkey"]


def test_two_homes_run_side_by_side(servers: Servers, tmp_path: Path) -> None:
    other = Servers.of(Home(tmp_path / "other"), {})
    try:
        servers.start()
        assert other.start() == []
        valkey(servers).set("home", "one")
        assert valkey(other).get("home") is None
        assert servers.environment() != other.environment()
    finally:
        other.stop()
    assert servers.dead() == []


def test_a_foreign_process_under_a_stale_pid_is_left_alone(servers: Servers) -> None:
    servers.start()
    servers.stop()
    assert servers.valkey
    servers.valkey.pid_file.write_text(f"{os.getppid()}\n")
    assert servers.valkey.pid() is None
    servers.valkey.stop()
    assert alive(os.getppid())


def test_only_what_the_environment_does_not_name_is_embedded(home: Home) -> None:
    named = Servers.of(home, {"DATABASE_URL": "postgresql://db.example/runyard"})
    assert [server.name for server in named.embedded()] == ["Valkey"]
    assert set(named.environment()) == {"REDIS_URL"}
    assert Servers.of(home, {"DATABASE_URL": "x", "REDIS_URL": "y"}).embedded() == []


def test_a_server_that_cannot_start_says_why(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devstack.server.RELAUNCH_SECONDS", 0)
    servers.start()
    servers.stop()
    assert servers.postgres
    (servers.postgres.data / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(DevstackError, match="no_such_setting"):
        servers.start()


def test_a_half_made_cluster_is_made_again(new_servers: Servers) -> None:
    servers = new_servers
    assert servers.postgres
    partial = servers.postgres.data.with_name("postgres.new")
    partial.mkdir()
    (partial / "PG_VERSION").write_text("18\n")
    servers.start()
    assert servers.postgres.answers()
    assert not partial.exists()


def test_a_socket_directory_of_somebody_else_is_refused(servers: Servers, tmp_path: Path) -> None:
    servers.home.sockets.symlink_to(tmp_path)
    try:
        with pytest.raises(DevstackError, match="belongs to somebody else"):
            servers.start()
    finally:
        servers.home.sockets.unlink()


def test_wait_until_is_bounded() -> None:
    assert not wait_until(lambda: False, 0.0)
