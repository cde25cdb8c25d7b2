"""RUNYARD_HOME: the directory that holds everything an installation on one machine keeps.

postgres/  valkey/   the embedded servers' data
logs/                one log per process and server
secret-key           signs admin sessions
api-key              the first ADMIN key
admin-password       the password of the admin user `admin`
lock                 held by the runner, so that one home has one runner
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevstackError

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Home:
    """The paths below one RUNYARD_HOME. `path` is absolute; nothing is created before `create()`."""

    path: Path

    @classmethod
    def from_environment(cls) -> Home:
        """Return the home that RUNYARD_HOME names, by default `.runyard` beside manage.py."""
        named = os.environ.get("RUNYARD_HOME", "")
        return cls(Path(named).expanduser().resolve() if named else PROJECT / ".runyard")

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def api_key(self) -> Path:
        return self.path / "api-key"

    @property
    def admin_password(self) -> Path:
        return self.path / "admin-password"

    @property
    def secret_key(self) -> Path:
        return self.path / "secret-key"

    @property
    def sockets(self) -> Path:
        """The directory of the servers' sockets.

        Outside the home, because a socket's path is limited to about 100 characters and a home's is not. Its name
        follows from the home's path, so that every process finds it and two homes never share it.
        """
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path("/tmp") / f"runyard-{os.getuid()}-{digest}"

    def create(self) -> None:
        """Make the directories, readable by their owner only. Raises DevstackError where that is impossible."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DevstackError(f"RUNYARD_HOME cannot be used: {error}") from None
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise DevstackError(f"RUNYARD_HOME cannot be used: {self.path} belongs to another user")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home for one runner. Raises DevstackError when another process holds it."""
        with open(self.path / "lock", "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip()
                raise DevstackError(
                    f"Runyard already runs on {self.path} (process {holder or 'unknown'}). "
                    "Stop it, or set another RUNYARD_HOME and PORT."
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
            lock.truncate(0)


def write_secret(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def read_secret(path: Path) -> str:
    """Return what `write_secret` wrote, or an empty string where there is nothing."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def lasting_secret(path: Path) -> str:
    """Return the secret kept in `path`, making a random one the first time."""
    kept = read_secret(path)
    if not kept:
        kept = secrets.token_urlsafe(48)
        write_secret(path, kept)
    return kept


def private_directory(path: Path, owner: int) -> None:
    """Make a directory that only `owner` (a user id) can enter.

    It may stand in a directory that everybody writes to, so one that somebody else made first is refused with
    DevstackError.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), owner):
        raise DevstackError(f"{path} belongs to somebody else. Remove it, then start again.")
    path.chmod(0o700)
    if found.st_uid != owner:
        os.chown(path, owner, -1)
