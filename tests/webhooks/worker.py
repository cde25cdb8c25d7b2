"""A real worker of callbacks, on the test's own database and broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from celery import current_app
from django.conf import settings
from django.db import connection

from devstack.home import PROJECT
from devstack.processes import end_with_parent, signal_group, tail

PATIENCE_S = 60.0
COMMAND = "-A config worker -Q webhooks -n webhooks@%h -c 1 --without-gossip --without-mingle"


class Worker:
    """Started as the Procfile says, with one process; every ring wakes it, since no beat runs."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._log = folder / "worker.log"
        database = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")},
            "DATABASE_URL": os.environ["DATABASE_URL"].replace(
                f"/{database['dbname']}?", f"/{connection.settings_dict['NAME']}?"
            ),
            "RUNYARD_CALLBACK_ALLOW_HTTP": "true",
            "RUNYARD_CALLBACK_ALLOW_PRIVATE": "true",
            "RUNYARD_CALLBACK_THREADS": str(settings.RUNYARD_CALLBACK_THREADS),
            **environment,
        }

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "celery", *COMMAND.split()], cwd=PROJECT, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=end_with_parent,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return tail(self._log, 60)

    def ring(self) -> None:
        current_app.send_task("webhooks.send", queue="webhooks", expires=5)

    def kill(self) -> None:
        """Kill it with all its processes, at once."""
        signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> float:
        """End it politely; return the seconds that took."""
        began = time.monotonic()
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        return time.monotonic() - began

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error:
            print(self.log)
