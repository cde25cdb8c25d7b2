"""`python -m devstack run`, as `make run` calls it, on a small project of its own beside the real servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.home import PROJECT
from devstack.processes import alive, wait_until

PATIENCE = 60.0
CREATE_KEY = """
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def add_arguments(self, parser):
        for name in ("--workspace", "--email", "--role"):
            parser.add_argument(name)

    def handle(self, **options):
        print("key of", options["workspace"], options["email"], options["role"])
"""
SYNC_ACTIONS = """
import os
from django.core.management.base import BaseCommand, CommandError

class Command(BaseCommand):
    def handle(self, **options):
        if os.environ.get("RUNYARD_ACTIONS") == "broken":
            raise CommandError("Two actions are named 'twin'. Rename one.")
"""
SETTINGS = """
import os, environ
SECRET_KEY = os.environ["SECRET_KEY"]
DATABASES = {"default": environ.Env().db_url_config(os.environ["DATABASE_URL"])}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "config"]
"""
WEB = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" or self.headers["X-API-Key"] else 401)
        self.end_headers()
        health = {"broker": {"ok": True}, "workers": {}, "beat": {"ok": True, "age_s": 1.0}, "pid": os.getpid()}
        self.wfile.write(json.dumps(health).encode())

print("listening", flush=True)
HTTPServer((os.environ.get("RUNYARD_BIND", "127.0.0.1"), int(os.environ["PORT"])), Handler).serve_forever()
"""


class Project:
    """A small project in a directory with a space, and the runner started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".runyard"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.screen = folder / "screen"
        self.runners: list[subprocess.Popen[bytes]] = []

    def write(self) -> None:
        shutil.copytree(PROJECT / "devstack", self.folder / "devstack", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "manage.py", self.folder)
        commands = self.folder / "config" / "management" / "commands"
        commands.mkdir(parents=True)
        (self.folder / "config" / "__init__.py").touch()
        (self.folder / "config" / "settings.py").write_text(SETTINGS)
        (commands / "create_key.py").write_text(CREATE_KEY)
        (commands / "sync_actions.py").write_text(SYNC_ACTIONS)
        (self.folder / "web.py").write_text(WEB)
        (self.folder / "Procfile").write_text("web: python web.py\nbeat: sleep ${NAP:-1000}\n")

    def environment(self, **variables: str) -> dict[str, str]:
        ours = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE", "RUNYARD_HOME", "PYTHONPATH"}
        kept = {name: value for name, value in os.environ.items() if name not in ours}
        return kept | {"PORT": str(self.port)} | variables

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        with open(self.screen, "ab") as screen:
            runner = subprocess.Popen(
                [sys.executable, "-m", "devstack", "run"], cwd=self.folder, env=self.environment(**variables),
                stdout=screen, stderr=screen,
            )  # fmt: skip
        self.runners.append(runner)
        return runner

    def start_until_ready(self, **variables: str) -> subprocess.Popen[bytes]:
        before = self.said().count("Runyard is ready")
        runner = self.start(**variables)
        assert wait_until(lambda: self.said().count("Runyard is ready") > before or runner.poll() is not None, PATIENCE)
        assert runner.poll() is None, self.said()
        return runner

    def said(self) -> str:
        return self.screen.read_text() if self.screen.exists() else ""

    def web_pid(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
            return int(json.load(answer)["pid"])

    def server_pids(self) -> list[int]:
        files = (self.home / "postgres" / "postmaster.pid", self.home / "valkey" / "valkey.pid")
        return [int(file.read_text().split()[0]) for file in files]

    def stop(self) -> None:
        if not self.runners:
            return
        for runner in self.runners:
            runner.terminate()
            runner.wait(PATIENCE)
        self.runners.clear()
        subprocess.run([sys.executable, "-m", "devstack", "stop"], cwd=self.folder, env=self.environment(), check=True)


@pytest.fixture(scope="module")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """One that was never started before the first test."""
    made = Project(tmp_path_factory.mktemp("new") / "a project")
    made.write()
    yield made
    made.stop()


@pytest.fixture
def project(new_project: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of it, started and stopped before: a first start takes long."""
    if not (new_project.home / "api-key").exists():
        new_project.start_until_ready()
    new_project.stop()
    made = Project(shutil.copytree(new_project.folder, tmp_path / "a project"))
    made.screen.unlink()
    yield made
    made.stop()


def test_a_first_start_makes_everything_and_a_stop_ends_it(new_project: Project) -> None:
    project = new_project
    runner = project.start_until_ready()
    said = project.said()
    assert f"http://127.0.0.1:{project.port}" in said
    assert "key of default admin@localhost ADMIN" in said
    assert said.count("\ncurl -s ") == 2
    assert "RUN=$(curl -s " in said
    assert (project.home / "api-key").read_text() == "key of default admin@localhost ADMIN\n"
    for secret in ("api-key", "admin-password", "secret-key"):
        assert (project.home / secret).stat().st_mode & 0o777 == 0o600
    assert "listening" in (project.home / "logs" / "web.log").read_text()

    check = "from django.contrib.auth import authenticate; import sys; print(authenticate(username='admin', "
    check += "password=sys.stdin.read().strip()).is_superuser)"
    found = subprocess.run(
        [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", check], cwd=project.folder, check=False,
        env=project.environment(), input=(project.home / "admin-password").read_text(), text=True, capture_output=True,
    )  # fmt: skip
    assert found.stdout == "True\n", found.stderr

    pids = [project.web_pid(), *project.server_pids()]
    runner.send_signal(signal.SIGINT)
    assert runner.wait(10) == 0
    assert not any(alive(pid) for pid in pids)


def test_a_later_start_goes_on_with_what_is_there_and_starts_again_what_dies(project: Project) -> None:
    kept = {name: (project.home / name).read_text() for name in ("api-key", "admin-password", "secret-key")}
    project.start_until_ready()
    assert {name: (project.home / name).read_text() for name in kept} == kept
    web, servers = project.web_pid(), project.server_pids()
    for pid in (web, *servers):
        os.kill(pid, signal.SIGKILL)
    ended = ("web ended (killed by SIGKILL)", "PostgreSQL ended", "Valkey ended")
    assert wait_until(lambda: all(words in project.said() for words in ended), PATIENCE), project.said()
    assert wait_until(lambda: _comes_back(project, web), PATIENCE), project.said()
    assert wait_until(lambda: all(alive(pid) for pid in project.server_pids()), PATIENCE)


def _comes_back(project: Project, before: int) -> bool:
    try:
        return project.web_pid() != before
    except OSError:
        return False


def test_a_killed_runner_is_followed_by_one_that_adopts_its_servers(project: Project) -> None:
    runner = project.start_until_ready()
    web, servers = project.web_pid(), project.server_pids()
    runner.kill()
    runner.wait()
    assert all(alive(pid) for pid in servers)
    project.start_until_ready()
    assert "Adopted the PostgreSQL" in project.said()
    assert "Adopted the Valkey" in project.said()
    assert project.server_pids() == servers
    assert project.web_pid() != web
    assert not alive(web)


def test_what_stands_in_the_way_is_said_plainly(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", project.port))
        taken.listen()
        assert project.start().wait(PATIENCE) == 1
    assert f"Port {project.port} cannot be used: Address already in use" in project.said()
    assert project.start(PORT="http").wait(PATIENCE) == 1
    assert "PORT must be a number from 1 to 65535, not 'http'" in project.said()
    assert project.start(RUNYARD_ACTIONS="broken").wait(PATIENCE) == 1
    assert "Two actions are named 'twin'. Rename one." in project.said()
    project.start_until_ready()
    assert project.start().wait(PATIENCE) == 1
    assert "Runyard already runs on" in project.said()
    assert "Traceback" not in project.said()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has all of 127.0.0.0/8")
def test_another_address_is_the_one_that_is_used(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", project.port))  # nobody else's port on this address stands in the way
        taken.listen()
        project.start_until_ready(RUNYARD_BIND="127.0.0.2")
    assert f"Runyard is ready at http://127.0.0.2:{project.port}" in project.said()
    assert project.start(RUNYARD_BIND="192.0.2.1", RUNYARD_HOME=str(project.folder / "other")).wait(PATIENCE) == 1
    assert f"RUNYARD_BIND=192.0.2.1 with PORT={project.port} cannot be listened on" in project.said()


def test_a_stop_during_the_start_is_heard(project: Project) -> None:
    runner = project.start()
    assert wait_until(lambda: "Bringing the tables" in project.said(), PATIENCE)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(10) == 0
    assert "Stopped" in project.said()
    assert "Traceback" not in project.said()
    assert not (project.home / "postgres" / "postmaster.pid").exists()
