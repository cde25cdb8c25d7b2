"""The shipped nginx configuration, run as it stands but for addresses and folders.

`python -m tests.nginx` installs nginx where none is found; where it cannot be had, the tests that need it are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.home import PROJECT
from devstack.processes import end_with_parent
from tests import debian

SHIPPED = PROJECT / "deploy" / "nginx"
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
STOP_S = 10


def find() -> str | None:
    """Return the path of nginx, or None."""
    return shutil.which("nginx", path=PLACES)


@contextmanager
def proxy(folder: Path, *, port: int, to: int) -> Iterator[None]:
    """Run the shipped configuration on a port of the loopback address, in front of a web server on port `to`.

    `folder` is for what it writes. On return from the block it has ended.
    """
    command = [find() or "nginx", "-p", str(folder), "-c", str(write(folder, port=port, to=to)), "-e", "stderr"]
    # As root it would give itself to a user who cannot enter the folder.
    command += ["-g", "daemon off;" + (" user root;" if os.geteuid() == 0 else "")]
    with (folder / "nginx.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=end_with_parent)
    try:
        yield
    finally:
        running.terminate()
        running.wait(STOP_S)


def write(folder: Path, *, port: int, to: int) -> Path:
    """Write the shipped configuration, with addresses and folders of its own, and return the path of its main file."""
    for name in ("bodies", "answers"):
        (folder / name).mkdir(exist_ok=True)
    shipped = {
        "nginx.conf": {
            "server web:8000 resolve;": f"server 127.0.0.1:{to};",
            "resolver 127.0.0.11 valid=5s;": "",
            "/tmp/": f"{folder}/",
            "/var/cache/nginx/": f"{folder}/",
        },
        "runyard.conf": {"listen 8080;": f"listen 127.0.0.1:{port};", "/var/log/nginx/": f"{folder}/"},
    }
    for name, changes in shipped.items():
        text = (SHIPPED / name).read_text()
        for old, new in changes.items():
            assert old in text, f"{name} has no {old!r}"
            text = text.replace(old, new)
        (folder / name).write_text(text)
    return folder / "nginx.conf"


if __name__ == "__main__":
    if not find():
        debian.install("nginx")
    if not find():
        print("No nginx here, and none could be installed: the tests of its configuration will be skipped.")
