from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.discovery import name_embedded_servers
from devstack.home import PROJECT
from devstack.servers import Servers

NAMES = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")


def manage(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=PROJECT, env=environment | {"RUNYARD_HOME": str(home)},
        text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_a_command_that_needs_servers_says_plainly_that_they_do_not_run(tmp_path: Path) -> None:
    done = manage(tmp_path / "absent", "migrate")
    assert done.returncode == 1
    assert "Not running: the embedded PostgreSQL and Valkey" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("words", [["help"], ["migrate", "--help"], ["version"], []])
def test_a_command_that_needs_none_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("RUNYARD_HOME", str(tmp_path))
    name_embedded_servers(words)
    assert all(os.environ[name] for name in NAMES)


def test_help_is_there_before_any_server_was(tmp_path: Path) -> None:
    done = manage(tmp_path, "migrate", "--help")
    assert done.returncode == 0, done.stderr


def test_running_servers_are_found(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("RUNYARD_HOME", str(servers.home.path))
    servers.start()
    name_embedded_servers(["migrate"])
    assert {name: os.environ[name] for name in servers.environment()} == servers.environment()
    assert os.environ["SECRET_KEY"]


def test_named_servers_are_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNYARD_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/runyard")
    monkeypatch.setenv("REDIS_URL", "redis://broker.example")
    monkeypatch.setenv("SECRET_KEY", "mine")
    name_embedded_servers(["migrate"])
    assert [os.environ[name] for name in NAMES] == [
        "postgresql://db.example/runyard", "redis://broker.example", "mine",
    ]  # fmt: skip
