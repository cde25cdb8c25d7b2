"""Debian's packages, for what some tests need beyond Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

INSTALL_WITHIN_S = 300
QUIET = ("-y", "-qq", "--no-install-recommends", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20")


def install(package: str) -> None:
    """Try to install a package, where this is root on a machine that has apt."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        attempt(["apt-get", "update", "-qq"])
        attempt(["apt-get", "install", *QUIET, package])


def attempt(command: Sequence[str]) -> None:
    """Run a command that installs something; what goes wrong is printed."""
    try:
        subprocess.run(
            command, timeout=INSTALL_WITHIN_S, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
