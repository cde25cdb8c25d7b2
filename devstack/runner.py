"""The processes of a Procfile under one roof: started, shown, logged, restarted when they die, stopped together.

Each runs in a process group of its own, so that Ctrl-C reaches the runner alone and nothing a process started is left
behind. Should the runner itself be killed, the kernel tells its processes to end (Linux), and the next runner on the
same home ends what remained: they carry the home in the variable RUNYARD_RUNNER.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from devstack.errors import DevstackError
from devstack.processes import carrying, end_with_parent, signal_group, signal_process, wait_until

MARKER = "RUNYARD_RUNNER"
STOP_SECONDS = 6.5  # of the 10 that a stop may take; the servers have the rest
RESTART_SECONDS = 0.5  # doubled at each death, up to
LONGEST_RESTART_SECONDS = 15.0
SETTLED_SECONDS = 30.0  # from then on a process has proved that it can start
TICK_SECONDS = 0.1
LOG_BYTES = 10_000_000
LINE_BYTES = 64 * 1024
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)


def read_procfile(path: Path) -> dict[str, str]:
    """Return the commands of a Procfile by name: each one program with its words, in which variables may stand.

    Raises DevstackError for a line that is not `name: command`.
    """
    commands: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, command = line.partition(":")
        if not colon or not name.strip() or not command.strip():
            raise DevstackError(f"{path.name}: {line!r} is not `name: command`")
        commands[name.strip()] = command.strip()
    return commands


def end_leftovers(home: Path) -> int:
    """End the processes that a killed runner of this home left behind. Returns how many there were."""
    marker = f"{MARKER}={home}"
    found = carrying(marker)
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        for pid in carrying(marker):
            signal_process(pid, signal_number)
        if wait_until(lambda: not carrying(marker), STOP_SECONDS):
            break
    return len(found)


class Console:
    """The terminal: one line at a time, each under its process's name, in colour where that is seen."""

    def __init__(self, names: list[str], stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer
        self._width = max(map(len, [*names, "runyard"]))
        coloured = self._stream.isatty() and "NO_COLOR" not in os.environ
        self._colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)} if coloured else {}
        self._bold = coloured

    def say(self, text: str) -> None:
        """Print a message of the runner's own."""
        self.write(f"\x1b[1m{text}\x1b[0m" if self._bold else text)

    def show(self, name: str, line: bytes) -> None:
        """Print one line of a process's output."""
        prefix = f"{name:<{self._width}} | "
        if name in self._colours:
            prefix = f"\x1b[{self._colours[name]}m{prefix}\x1b[0m"
        self.write(prefix + line.decode(errors="replace"))

    def write(self, text: str) -> None:
        """Print text as it is."""
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone is no reason to stop
            self._stream.write(text.encode() + b"\n")
            self._stream.flush()


class BoundedLog:
    """A file that is put aside (`.1`, replacing the one before) when it grows past `limit` bytes."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._file = open(path, "ab")  # noqa: SIM115  held as long as the runner

    def write(self, line: bytes) -> None:
        """Append one line."""
        if self._file.tell() > self._limit:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = open(self._path, "ab")  # noqa: SIM115  as above
        self._file.write(line + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class ManagedProcess:
    """One command of the Procfile, through its deaths and restarts."""

    def __init__(self, name: str, command: str, *, cwd: Path, environment: Mapping[str, str], log: BoundedLog) -> None:
        self.name = name
        self.log = log
        self.restart_at: float | None = None
        self._command = command
        self._cwd = cwd
        self._environment = environment
        self._deaths = 0
        self._partial = b""
        self.start()

    def start(self) -> None:
        """Start the command in a session, and so in a process group, of its own.

        `exec` makes it the group's leader itself: signals reach the program and not a shell around it.
        """
        self.restart_at = None
        self.silent = False
        self._started_at = time.monotonic()
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {self._command}"], cwd=self._cwd, env=dict(self._environment),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,  # safe: the runner has one thread
        )  # fmt: skip
        assert self.process.stdout is not None
        self.output = self.process.stdout.fileno()
        os.set_blocking(self.output, False)

    def age(self) -> float:
        """Return the seconds since the last start."""
        return time.monotonic() - self._started_at

    def lines(self) -> list[bytes]:
        """Return the whole lines that the process has written since the last call."""
        try:
            read = os.read(self.output, LINE_BYTES)
        except BlockingIOError:
            return []
        self.silent = not read
        *lines, self._partial = (self._partial + read).split(b"\n")
        if self._partial and (not read or len(self._partial) >= LINE_BYTES):
            lines.append(self._partial)
            self._partial = b""
        return lines

    def bury(self) -> float:
        """After the process died: end what it left in its group. Returns the seconds until it should start again."""
        signal_group(self.process.pid, signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self.age() > SETTLED_SECONDS:
            self._deaths = 0
        delay = min(RESTART_SECONDS * 2.0**self._deaths, LONGEST_RESTART_SECONDS)
        self._deaths += 1
        self.restart_at = time.monotonic() + delay
        return delay


class Runner:
    """Keeps the commands running. `tick()` does one round of work; everything happens in the caller's thread."""

    def __init__(
        self,
        commands: Mapping[str, str],
        *,
        home: Path,
        logs: Path,
        cwd: Path,
        environment: Mapping[str, str],
        console: Console,
        quiet: bool = False,
    ) -> None:
        self._console = console
        self._quiet = quiet
        self._selector = selectors.DefaultSelector()
        marked = {**environment, MARKER: str(home), "PYTHONUNBUFFERED": "1"}
        self.processes: list[ManagedProcess] = []
        for name, command in commands.items():
            log = BoundedLog(logs / f"{name}.log")
            self.processes.append(ManagedProcess(name, command, cwd=cwd, environment=marked, log=log))
            self._selector.register(self.processes[-1].output, selectors.EVENT_READ, self.processes[-1])

    def run(self, done: Callable[[], bool]) -> None:
        """Keep everything running until `done()` holds."""
        while not done():
            self.tick()

    def tick(self, seconds: float = TICK_SECONDS) -> None:
        """Pass on output for up to `seconds`, then start again what has died."""
        self._pass_on_output(seconds)
        now = time.monotonic()
        for managed in self.processes:
            if managed.restart_at is None and managed.process.poll() is not None:
                self._note_death(managed)
            elif managed.restart_at is not None and managed.restart_at <= now:
                managed.start()
                self._selector.register(managed.output, selectors.EVENT_READ, managed)
                self._console.say(f"{managed.name} started again (process {managed.process.pid})")

    def replace(self, name: str, reason: str) -> None:
        """Kill a process that runs but does no good; the next tick starts it again. A young one is given its time."""
        for managed in self.processes:
            if managed.name == name and managed.restart_at is None and managed.age() > SETTLED_SECONDS:
                self._console.say(f"{name} {reason} and is replaced")
                signal_group(managed.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop everything: politely first, then, after STOP_SECONDS, for certain.

        Only the leaders are told: a worker stops its own children in its own time, between two inputs.
        """
        running = [managed for managed in self.processes if managed.restart_at is None]
        for managed in running:
            signal_process(managed.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(managed.process.poll() is None for managed in running) and time.monotonic() < deadline:
            self._pass_on_output(TICK_SECONDS)
        for managed in running:
            if managed.process.poll() is None:
                self._console.say(f"{managed.name} did not stop in {STOP_SECONDS:g} s and was killed")
            signal_group(managed.process.pid, signal.SIGKILL)
            managed.process.wait()
            self._drain(managed)
            managed.log.close()

    def _pass_on_output(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            self._show(key.data, key.data.lines())
            if key.data.silent:
                self._selector.unregister(key.fileobj)
        if not self._selector.get_map():
            time.sleep(seconds)

    def _show(self, managed: ManagedProcess, lines: list[bytes]) -> None:
        for line in lines:
            managed.log.write(line)
            if not self._quiet:
                self._console.show(managed.name, line)

    def _note_death(self, managed: ManagedProcess) -> None:
        self._drain(managed)
        if not managed.silent:
            self._selector.unregister(managed.output)
        code = managed.process.returncode
        how = f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        delay = managed.bury()
        self._console.say(f"{managed.name} ended ({how}); starting it again in {delay:g} s")

    def _drain(self, managed: ManagedProcess) -> None:
        while lines := managed.lines():
            self._show(managed, lines)
