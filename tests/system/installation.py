"""An installation of real processes, started as the Procfile says, that tests talk to over HTTP and may break."""

from __future__ import annotations

import atexit
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from devstack.home import PROJECT, Home, read_secret, write_secret
from devstack.processes import end_with_parent, signal_group, tail
from devstack.runner import read_procfile
from devstack.servers import Servers
from devstack.temporary import TemporaryServers

PATIENCE_S = 60.0  # bounds a wait; says nothing about how long anything should take
POLL_S = 0.1
REQUEST_TIMEOUT_S = 10.0
POLITE_STOP_S = 15.0
LEASE_SECONDS = 2
CALLBACK_RETRY_SCALE = 0.001
"""With it a callback that fails is sent again after about 5 ms, 30 ms, 0.3 s, 2 s, 7 s, 18 s and more."""
RESTART_S = 0.5  # as the runner of `make run`
SECOND_WORKER = "worker-runs-second"
ENDED = frozenset({"SUCCEEDED", "PARTIAL_SUCCEEDED", "FAILED", "INVALID", "STOPPED"})


@dataclass(frozen=True)
class Execution:
    """One call of a sample action, as it noted it itself; `at` is when it began (epoch seconds)."""

    run_uid: str
    index: int
    attempt: int
    pid: int
    at: float


@dataclass(frozen=True)
class Template:
    """A database with all tables and one key, in a folder: whoever asks first makes it, the others wait and copy it."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "postgres"

    def key(self) -> str:
        """Return the key, once the database is made."""
        kept = self.folder / "api-key"
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                write_secret(kept, self._make())
        return read_secret(kept)

    def _make(self) -> str:
        made = Installation(self.folder, processes=())
        try:
            made.manage("migrate", "-v", "0")
            key = made.manage("create_key", "--workspace", "Tests", "--email", "ada@example.com").stdout.strip()
            database = made.servers.postgres
            assert database is not None
            database.stop()
            shutil.copytree(database.data, self.database)
            return key
        finally:
            made.close()


@functools.cache
def own_template() -> Template:
    """Return the template of this process; pytest's processes share another (`conftest.py`)."""
    folder = tempfile.mkdtemp(prefix="runyard-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Template(Path(folder))


class Installation:
    """Own servers, own database, own processes. `folder` keeps the logs and the trace of the sample actions.

    `processes` are names of the Procfile; the others can be started later. Where there are none () the database is left
    as empty as it was made. With `second_worker` there is one more worker for runs, named SECOND_WORKER. `durable`
    servers keep what they acknowledged when they are killed.
    """

    template: Callable[[], Template] = staticmethod(own_template)

    def __init__(
        self,
        folder: Path,
        *,
        processes: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        second_worker: bool = False,
        durable: bool = False,
    ) -> None:
        self.folder = folder
        self._commands = read_procfile(PROJECT / "Procfile")
        self._own_environments: dict[str, Mapping[str, str]] = {}
        if second_worker:
            self.add(SECOND_WORKER, like="worker-runs")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._restart_at: dict[str, float] = {}
        template = Installation.template() if processes != () else None
        self.key = template.key() if template else ""
        self._temporary = TemporaryServers(durable=durable, database=template and template.database)
        try:
            # The same servers by their home, since tests stop and start them one by one.
            self.servers = Servers.of(Home(self._temporary.folder), {}, durable=durable)
            self.port = free_port()
            self.trace = folder / "trace"
            self.trace.touch()
            self.environment = self._environment() | dict(environment or {})
            self.client = Client(f"http://127.0.0.1:{self.port}", self.key)
            self.start(*(self._commands if processes is None else processes))
        except BaseException:
            self.close()
            raise

    def _environment(self) -> dict[str, str]:
        # Not the tests' own environment: importing our code changes it, which no operator's shell has done.
        return {
            "HOME": str(self.folder),
            **self._temporary.environment,
            "SECRET_KEY": "only-for-tests",
            "PORT": str(self.port),
            "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "TRACE": str(self.trace),
            "RUNYARD_HOME": str(self._temporary.folder),
            "RUNYARD_ACTIONS": "tests.system.sample_actions",
            "RUNYARD_LEASE_SECONDS": str(LEASE_SECONDS),
            "RUNYARD_RUNS_CONCURRENCY": "2",
            "RUNYARD_LIVE_CONCURRENCY": "2",
            "RUNYARD_RATE_LIMIT": "off",  # one key asks ten times a second, for as long as it takes
            # Receivers of callbacks are tests on this machine, and wait seconds where others wait hours.
            "RUNYARD_CALLBACK_ALLOW_HTTP": "true",
            "RUNYARD_CALLBACK_ALLOW_PRIVATE": "true",
            "RUNYARD_CALLBACK_RETRY_SCALE": str(CALLBACK_RETRY_SCALE),
            "RUNYARD_ACTIONS_ALLOW_PRIVATE": "false",
        }

    # --- Processes

    def start(self, *names: str) -> None:
        """Start processes of the Procfile that do not run, and return when `/readyz` has seen them."""
        for name in names:
            if not self.is_up(name):
                self._spawn(name)
        until(lambda: not names or self._are_seen(names), lambda: f"{names} are not up\n{self.logs()}")

    def add(self, name: str, *, like: str, **environment: str) -> None:
        """Know one more process, which starts like one of the Procfile, with an environment of its own."""
        # Under its own name on the host: Celery's messages between workers go by it.
        self._commands[name] = self._commands[like].replace("@%h", f"@{name}")
        self._own_environments[name] = environment

    def remove(self, name: str) -> None:
        """Kill a process that was added, and forget it."""
        if self.is_up(name):
            self.kill(name)
        self._running.pop(name, None)
        self._restart_at.pop(name, None)
        del self._commands[name]

    def _spawn(self, name: str) -> None:
        self._restart_at.pop(name, None)
        with open(self.log(name), "ab") as log:
            self._running[name] = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {self._commands[name]}"], cwd=PROJECT,
                env=self.environment | self._own_environments.get(name, {}),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=end_with_parent,
            )  # fmt: skip

    def revive(self) -> None:
        """Start again whatever has ended half a second ago or earlier, as a supervisor does, and wait for nothing.

        To be called again and again, from the thread that is to outlive the processes.
        """
        for name, process in self._running.items():
            if process.poll() is None:
                continue
            if name not in self._restart_at:
                signal_group(process.pid, signal.SIGKILL)
                self._restart_at[name] = time.monotonic() + RESTART_S
            elif time.monotonic() >= self._restart_at[name]:
                self._spawn(name)

    def _are_seen(self, names: Sequence[str]) -> bool:
        for name in names:
            assert self.is_up(name), f"{name} ended at its start\n{self.logs()}"
        try:
            seen = self.client.get("/readyz").json()
        except (requests.ConnectionError, requests.Timeout):  # it listens before it can answer
            return False
        workers = seen["workers"]
        answers = {
            "web": True,
            "worker-live": workers["live"]["ok"],
            "worker-runs": workers["runs"]["ok"],
            SECOND_WORKER: workers["runs"]["count"] > 1,
            "worker-webhooks": workers["webhooks"]["ok"],
            "worker-system": workers["system"]["ok"],
            "beat": seen["beat"]["ok"],
        }
        return all(answers.get(name, True) for name in names)

    @property
    def names(self) -> list[str]:
        """What its processes are called."""
        return list(self._commands)

    def is_up(self, name: str) -> bool:
        process = self._running.get(name)
        return process is not None and process.poll() is None

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def children(self, name: str) -> list[int]:
        """Return the ids of the processes that a process has started itself: a worker's pool."""
        pid = self.pid(name)
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def signal(self, name: str, signal_number: int) -> None:
        """Send a signal to a process and all that it started."""
        signal_group(self.pid(name), signal_number)

    def stop(self, name: str) -> None:
        """End a process politely, as an operator would."""
        self._running[name].terminate()
        assert self._running[name].wait(POLITE_STOP_S) is not None

    def kill(self, name: str) -> None:
        """Kill a process with all that it started, at once."""
        self.signal(name, signal.SIGKILL)
        self._running[name].wait()

    def restore(self) -> None:
        """Bring back whatever a test took away."""
        self.servers.start()
        self.start(*self._commands)

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for process in self._running.values():
            signal_group(process.pid, signal.SIGKILL)
            process.wait()
        self._temporary.stop()

    # --- Looking in

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def logs(self, lines: int = 40) -> str:
        """Return the end of every log, for a failed test's message."""
        return "\n".join(f"--- {name}\n{tail(self.log(name), lines)}" for name in self._commands)

    def executions(self, run_uid: str) -> list[Execution]:
        """Return every call of a sample action for a run, in the order they were begun."""
        return _executions(line for line in self._trace() if line.startswith(run_uid))

    def all_executions(self) -> list[Execution]:
        """Return every call of a sample action, in the order they were begun."""
        return _executions(self._trace())

    def _trace(self) -> list[str]:
        return self.trace.read_text().splitlines()

    def wait_for_executions(self, run_uid: str, count: int) -> list[Execution]:
        """Return when at least `count` calls have begun."""
        until(
            lambda: len(self.executions(run_uid)) >= count,
            lambda: f"{len(self.executions(run_uid))} of {count} executions\n{self.logs()}",
        )
        return self.executions(run_uid)

    def wait_for_end(self, run_uid: str, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """Return the run when it has ended."""
        return self.wait_for(run_uid, lambda run: run["status"] in ENDED, seconds)

    def wait_for(
        self, run_uid: str, condition: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE_S
    ) -> dict[str, Any]:
        until(lambda: condition(self.status(run_uid)), lambda: f"{self.status(run_uid)}\n{self.logs()}", seconds)
        return self.client.get(f"/v1/runs/{run_uid}").json()

    def status(self, run_uid: str) -> dict[str, Any]:
        return self.client.get(f"/v1/runs/{run_uid}/status").json()

    def launch(self, action: str, inputs: Sequence[Any], **fields: Any) -> str:
        """Launch an async run, require the 202, and return its uid."""
        answer = self.client.post(f"/v1/actions/{action}/async", json={"inputs": list(inputs), **fields})
        assert answer.status_code == 202, answer.text
        return answer.json()["run_uid"]

    def manage(self, *words: str, input: bytes = b"", expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` as an operator does, in a shell without a terminal."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=PROJECT, env=self.environment, input=input,
            capture_output=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        told = subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())
        assert expect is None or told.returncode == expect, f"{words}: {told.returncode}\n{told.stdout}{told.stderr}"
        return told


def _executions(lines: Iterable[str]) -> list[Execution]:
    rows = (line.split() for line in lines)
    return [Execution(uid, int(index), int(attempt), int(pid), float(at)) for uid, index, attempt, pid, at in rows]


class Client:
    """What a caller has: an address, a key and `requests`."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy of the environment for this machine's own ports
        self.session.headers["X-API-Key"] = key

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a path, or a whole URL as pagination headers give them."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        url = path if path.startswith("http") else self.url + path
        return self.session.request(method, url, **{"timeout": REQUEST_TIMEOUT_S} | options)

    def pages(self, path: str) -> list[Any]:
        """Return a whole list by following `X-Pagination-Next`."""
        rows: list[Any] = []
        following: str | None = path
        while following:
            answer = self.get(following)
            assert answer.status_code == 200, answer.text
            rows += answer.json()
            following = answer.headers.get("X-Pagination-Next")
        return rows

    def outputs(self, run_uid: str) -> list[Any]:
        """Return all outputs, as one NDJSON stream gives them."""
        answer = self.get(f"/v1/runs/{run_uid}/outputs", headers={"Accept": "application/x-ndjson"})
        assert answer.headers["Content-Type"] == "application/x-ndjson", answer.text
        return [json.loads(line) for line in answer.content.splitlines()]


def until(condition: Callable[[], bool], message: Callable[[], str], seconds: float = PATIENCE_S) -> None:
    """Return as soon as `condition()` holds; fail with `message()` when it still does not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(POLL_S)


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
