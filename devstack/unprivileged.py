"""PostgreSQL refuses to run as root. How a process that root starts loses that identity and keeps its files.

Two ways, the first that this machine allows:

1. a user namespace that shows root as `nobody`: to the files it is still root, so a home below a 0700 directory works;
2. `nobody`, keeping the one capability that reads and writes files regardless of their mode, for the same reason.
"""

from __future__ import annotations

import functools
import os
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
    """Return the identity that servers run under on this machine. Raises DevstackError for root where none is left."""
    if os.getuid() != 0:
        return Identity((), os.getuid())
    if _works(NAMESPACE):
        return Identity(NAMESPACE, 0)
    if _works(NOBODY_WITH_FILES):
        return Identity(NOBODY_WITH_FILES, NOBODY)
    raise DevstackError(
        "PostgreSQL refuses to run as root, and this machine lets root take no other identity. "
        "Run as an ordinary user, or name servers in DATABASE_URL and REDIS_URL."
    )


def _works(prefix: tuple[str, ...]) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
