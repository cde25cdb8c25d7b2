"""What stands between running servers and a first request: tables, the first workspace, key and admin user."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

from devstack.errors import DevstackError
from devstack.home import PROJECT, Home, read_secret, write_secret

WORKSPACE = "default"
ADMIN_NAME = "admin"
ADMIN_EMAIL = "admin@localhost"
POLL_SECONDS = 0.2


class Setup:
    """The steps, each a process of its own and each harmless when repeated.

    `check` is called while a step runs; what it raises ends the step.
    """

    def __init__(self, home: Home, environment: Mapping[str, str], check: Callable[[], None]) -> None:
        self._home = home
        self.environment = dict(environment)
        self._check = check

    def migrate(self) -> None:
        """Bring the tables up to date."""
        self._manage("migrate", "--no-input", "--verbosity", "0")

    def sync_actions(self) -> None:
        """Write the catalogue of actions; an action that cannot be registered stops the start here."""
        self._manage("sync_actions")

    def ensure_admin(self) -> None:
        """Make the admin user, its password kept in the home. An admin that exists keeps the password it has."""
        if not read_secret(self._home.admin_password):
            write_secret(self._home.admin_password, secrets.token_urlsafe(12))
        password = read_secret(self._home.admin_password)
        self._run([sys.executable, "-m", "devstack.first_admin", ADMIN_NAME, ADMIN_EMAIL], given=password)

    def ensure_key(self) -> None:
        """Make the first key, unless the home has one."""
        if not read_secret(self._home.api_key):
            self.make_key()

    def make_key(self) -> None:
        """Make an ADMIN key of the first workspace and keep it in the home."""
        key = self._manage("create_key", "--workspace", WORKSPACE, "--email", ADMIN_EMAIL, "--role", "ADMIN")
        write_secret(self._home.api_key, key)

    def _manage(self, *words: str) -> str:
        return self._run([sys.executable, "manage.py", *words])

    def _run(self, command: list[str], given: str = "") -> str:
        """Return what the command prints. Raises DevstackError with its last words when it fails."""
        with subprocess.Popen(
            command, cwd=PROJECT, env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches us alone, and `check` ends the step
        ) as process:  # fmt: skip
            pending: str | None = given
            while True:
                try:
                    printed, errors = process.communicate(pending, timeout=POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    pending = None
                    try:
                        self._check()
                    except BaseException:
                        os.killpg(process.pid, signal.SIGKILL)
                        raise
        if process.returncode != 0:
            raise DevstackError(f"`{' '.join(command[1:3])}` failed:\n{(errors or printed).strip()[-4000:]}")
        return printed.strip()
