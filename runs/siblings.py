"""The processes of one worker, as they name themselves in the batches they hold, and which of them are alive."""

from __future__ import annotations

import os
import secrets
import socket

POOL = secrets.token_hex(4)  # a worker's own: made before it forks its processes, so that all of them share it


def worker_name() -> str:
    """Return how this process is named in what it claims."""
    return f"{pool_prefix()}{os.getpid()}"


def pool_prefix() -> str:
    """Return what the names of all processes of this worker begin with, and no other's."""
    return f"{socket.gethostname()}:{POOL}:"


def is_dead_sibling(worker: str) -> bool:
    """Return whether `worker` names a process of this worker that has ended."""
    pid = worker.removeprefix(pool_prefix())
    return pid != worker and not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process has the number by now: the lease runs out
        return True
    return True
