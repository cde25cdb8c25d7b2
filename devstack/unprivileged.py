"""PostgreSQL refuses to run as root, or as a user id without a name, as containers have them.

How a process that such a user starts takes another identity and keeps its files: the first way the machine allows.

1. A user namespace that shows us as `nobody`: to the files it is still us, so a home below a 0700 directory works.
2. For root, `nobody` with the one capability that reads and writes files whatever their mode, for the same reason.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevstackError

NOBODY = 65534
NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
NOBODY_WITH_FILES = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_override", "--ambient-caps=+dac_override",
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """How a server is started: words put before its command, and the user id its files must belong to."""

    prefix: tuple[str, ...]
    owner: int

    def own(self, path: Path) -> None:
        """Hand a directory and all below it to this identity, if it was made under another."""
        if path.exists() and path.stat().st_uid != self.owner:
            for folder, _, files in os.walk(path):
                os.chown(folder, self.owner, -1)
                for name in files:
                    os.chown(os.path.join(folder, name), self.owner, -1, follow_symlinks=False)


@functools.cache
def server_identity() -> Identity:
    """Return the identity that servers run under on this machine. Raises DevstackError where none will do."""
    user = os.getuid()
    if user != 0 and _has_name(user):
        return Identity((), user)
    if _works(NAMESPACE):
        return Identity(NAMESPACE, user)
    if user == 0 and _works(NOBODY_WITH_FILES):
        return Identity(NOBODY_WITH_FILES, NOBODY)
    raise DevstackError(
        "PostgreSQL runs neither as root nor as a user without a name, and this machine lets user "
        f"{user} take no other identity. Run as an ordinary user, or name servers in DATABASE_URL and REDIS_URL."
    )


def _has_name(user: int) -> bool:
    try:
        return bool(pwd.getpwuid(user))
    except KeyError:
        return False


def _works(prefix: tuple[str, ...]) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
