"""Everything of one home, brought up in order, looked after, and taken down again."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devstack.errors import DevstackError
from devstack.home import PROJECT, Home, lasting_secret, read_secret
from devstack.processes import tail
from devstack.runner import Console, Runner, end_leftovers, read_procfile
from devstack.servers import Servers
from devstack.setup import ADMIN_NAME, Setup
from devstack.silence import SilenceWatch
from devstack.stopping import StopSignal

READY_SECONDS = 120
LOOK_SECONDS = 0.5  # between two looks at what should be ready or alive
HEALTH_SECONDS = 10.0  # between two looks at what should give signs of life
LOCAL_HOSTS = "localhost,127.0.0.1,[::1]"
SAMPLE = ("inspect-url", "docs/examples/urls.jsonl")
SAMPLE_OUTPUTS = 3


def environment_of(home: Home, servers: Servers) -> dict[str, str]:
    """Return the variables that this home adds to the environment of its processes."""
    added = {"RUNYARD_HOME": str(home.path), **servers.environment()}
    if not os.environ.get("SECRET_KEY"):
        added["SECRET_KEY"] = lasting_secret(home.secret_key)
    return added


@contextlib.contextmanager
def installation(home: Home, *, quiet: bool) -> Iterator[Installation]:
    """Bring everything up, in order, and take everything down again, whatever happens in between."""
    stop_signal = StopSignal()
    port = _port()
    commands = read_procfile(PROJECT / "Procfile")
    console = Console(list(commands))
    servers = Servers.of(home)
    home.create()
    with home.locked():
        if ended := end_leftovers(home.path):
            console.say(f"Ended {ended} processes that a killed runner left behind")
        _require_free(port)
        try:
            environment = _bring_up(home, servers, console, stop_signal)
            setup = Setup(home, environment, stop_signal.check)
            _set_up(setup, console, stop_signal)
            console.say(f"Starting {', '.join(commands)}")
            runner = Runner(
                commands, home=home.path, logs=home.logs, cwd=PROJECT, environment=environment, console=console,
                quiet=quiet,
            )  # fmt: skip
            try:
                yield Installation(home, port, servers, setup, runner, console, stop_signal)
            finally:
                console.say("Stopping")
                runner.stop()
        finally:
            servers.stop()
            console.say("Stopped")


def _bring_up(home: Home, servers: Servers, console: Console, stop_signal: StopSignal) -> dict[str, str]:
    names = [server.name for server in servers.embedded()]
    if names:
        console.say(f"Starting {' and '.join(names)} in {home.path}")
    for name in servers.start():
        console.say(f"Adopted the {name} that an earlier runner left running")
    stop_signal.check()
    return _environment_of_processes(home, servers)


def _environment_of_processes(home: Home, servers: Servers) -> dict[str, str]:
    environment = {**os.environ, **environment_of(home, servers)}
    environment["PORT"] = str(_port())
    environment["ALLOWED_HOSTS"] = _allowed_hosts()
    # The Procfile's commands are those of this virtual environment.
    environment["PATH"] = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Embedded servers and their runner are for one person's machine, where root is as good a user as any.
    environment.setdefault("PYTHONWARNINGS", "ignore:You're running the worker with superuser")
    if not environment.get("RUNYARD_RUNS_CONCURRENCY"):
        environment["RUNYARD_RUNS_CONCURRENCY"] = str(os.cpu_count() or 1)
    return environment


def _set_up(setup: Setup, console: Console, stop_signal: StopSignal) -> None:
    console.say("Bringing the tables up to date")
    setup.migrate()
    stop_signal.check()
    console.say("Preparing the first workspace, key and admin user, and the catalogue of actions")
    setup.ensure_admin()
    setup.ensure_key()
    setup.sync_actions()
    stop_signal.check()


@dataclass
class Installation:
    """Everything of one home, running."""

    home: Home
    port: int
    servers: Servers
    setup: Setup
    runner: Runner
    console: Console
    stop_signal: StopSignal
    silence: SilenceWatch = field(default_factory=SilenceWatch)
    _looked_at: float = 0.0

    @property
    def address(self) -> str:
        return f"http://{_reached_at(_bind())}:{self.port}"

    @property
    def key(self) -> str:
        return read_secret(self.home.api_key)

    def run(self) -> None:
        """Keep everything running until a stop is asked for."""
        self.runner.run(_either(self.done, _passed(HEALTH_SECONDS)))
        while not self.stop_signal.requested:
            for name in self.silence.to_replace(*self.get("/readyz")):
                self.runner.replace(name, "gave no sign of life for a minute")
            self.runner.run(_either(self.done, _passed(HEALTH_SECONDS)))

    def done(self) -> bool:
        """Say whether a stop was asked for; on the way, start an embedded server again that has died."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._looked_at = time.monotonic()
            for server in self.servers.dead():
                self.console.say(f"{server.name} ended; starting it again")
                try:
                    server.start()
                except DevstackError as error:
                    self.console.say(str(error))
        return self.stop_signal.requested

    def wait_until_ready(self) -> None:
        """Return when launches are stored and executed.

        Raises DevstackError when that takes too long, Stopped when a stop was asked for.
        """
        deadline = time.monotonic() + READY_SECONDS
        status, body = 0, ""
        while not _all_ok(status, body):
            if time.monotonic() > deadline:
                raise DevstackError(
                    f"Not ready after {READY_SECONDS} s. {self.address}/readyz says {status or 'nothing'}: {body}\n"
                    f"The logs are in {self.home.logs}. The end of web.log:\n{tail(self.home.logs / 'web.log')}"
                )
            self.runner.run(_either(self.done, _passed(LOOK_SECONDS)))
            self.stop_signal.check()
            status, body = self.get("/readyz")
        if self.get("/v1/runs?limit=1")[0] == 401:  # the database is another one than the key was made for
            self.setup.make_key()

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a GET with the home's key; status 0 where nobody answers."""
        request = urllib.request.Request(self.address + path, headers={"X-API-Key": self.key})
        try:
            with _opener.open(request, timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode(errors="replace")
        except (OSError, ValueError) as error:
            return 0, str(error)

    def welcome(self) -> None:
        """Print the address, the key, and three commands to paste."""
        header = f"-H 'X-API-Key: {self.key}'"
        launch = json.dumps(
            {"inputs": [{"url": "https://Example.com:443/?utm_source=x"}, {"url": "http://bücher.example"}]}
        )
        self.console.say(f"\nRunyard is ready at {self.address}")
        self.console.write(
            f"""\
  admin    {self.address}/admin/  user {ADMIN_NAME}, password in {self.home.admin_password}
  API key  {self.key}  (kept in {self.home.api_key})
  logs     {self.home.logs}

Launch a run, list the 20 most recent, read the outputs:

RUN=$(curl -s {self.address}/v1/actions/inspect-url/run/async {header} -H 'Content-Type: application/json' \
-d '{launch}' | sed 's/.*"run_uid": *"\\([^"]*\\)".*/\\1/'); echo "$RUN"
curl -s '{self.address}/v1/runs?sort=-created_at&limit=20' {header}
curl -s {self.address}/v1/runs/$RUN/outputs {header}

Ctrl-C stops everything.
"""
        )

    def launch_sample(self) -> bool:
        """Launch the sample run in the foreground and print its first outputs. Returns whether it SUCCEEDED."""
        command = ["manage.py", "launch", *SAMPLE, "--wait"]
        self.console.say(" ".join(command))
        with subprocess.Popen(
            [sys.executable, *command], cwd=PROJECT, env=self.setup.environment, stdout=subprocess.PIPE, text=True,
            start_new_session=True,  # Ctrl-C reaches us alone
        ) as launch:  # fmt: skip
            self.runner.run(lambda: self.done() or launch.poll() is not None)
            if launch.poll() is None:
                launch.terminate()
            self.stop_signal.check()
            uid = launch.communicate()[0].strip()
        if launch.returncode != 0:
            raise DevstackError(f"The sample run did not succeed. The logs are in {self.home.logs}")
        run: dict[str, Any] = json.loads(self.get(f"/v1/runs/{uid}")[1])
        self.console.say(f"The first {SAMPLE_OUTPUTS} of {run['output_count']:,} outputs:")
        for output in json.loads(self.get(f"/v1/runs/{uid}/outputs?limit={SAMPLE_OUTPUTS}")[1]):
            self.console.write(json.dumps(output, ensure_ascii=False))
        self.console.say(f"The run {uid} is {run['status']}.")
        return bool(run["status"] == "SUCCEEDED")


def _all_ok(status: int, body: str) -> bool:
    """Say whether `/readyz` answers 200 and nothing in its body is not `ok` (workers and beat may come later)."""
    return status == 200 and '"ok":false' not in body.replace(" ", "")


def _passed(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def _either(one: Callable[[], bool], other: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: one() or other()


# The environment's proxies are not for a server on this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _port() -> int:
    """Return PORT. Raises DevstackError when it is not a port number."""
    named = os.environ.get("PORT") or "8000"
    if not named.isascii() or not named.isdecimal() or not 1 <= int(named) <= 65535:
        raise DevstackError(f"PORT must be a number from 1 to 65535, not {named!r}")
    return int(named)


def _bind() -> str:
    """Return the address that the web server listens on, without brackets."""
    return (os.environ.get("RUNYARD_BIND") or "127.0.0.1").strip("[]")


def _reached_at(bind: str) -> str:
    """Return the host by which a server that listens on `bind` is reached from here: "all" includes loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)
    return f"[{host}]" if ":" in host else host


def _allowed_hosts() -> str:
    """Return ALLOWED_HOSTS with what this machine itself says: the runner, and who pastes what it prints."""
    return ",".join(filter(None, [os.environ.get("ALLOWED_HOSTS"), LOCAL_HOSTS, _reached_at(_bind())]))


def _require_free(port: int) -> None:
    bind = _bind()
    try:
        family, kind, _, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the web server does
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise DevstackError(
                f"Port {port} cannot be used: {error.strerror}. Stop what listens there, or set another PORT."
            ) from None
        raise DevstackError(
            f"RUNYARD_BIND={bind} with PORT={port} cannot be listened on: {error.strerror}. "
            "RUNYARD_BIND is an address of this machine, or 0.0.0.0 for all."
        ) from None
