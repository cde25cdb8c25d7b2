"""Asking the system for the addresses of a name, with a time limit, which getaddrinfo itself does not have."""

from __future__ import annotations

import os
import socket
import threading
import time
from ipaddress import ip_address
from typing import Protocol

from egress.addresses import Address
from egress.errors import DnsFailed, TimedOut

MAX_LOOKUPS = 64
"""Threads that may wait for name servers at once; one that was given up goes on waiting."""

_slots: threading.Semaphore


class Resolve(Protocol):
    """What finds the addresses of a name."""

    def __call__(self, host: str, port: int, *, timeout_s: float) -> list[Address]: ...


def resolve(host: str, port: int, *, timeout_s: float) -> list[Address]:
    """Return the addresses of a name in the system's order; raises DnsFailed or TimedOut."""
    ends_at = time.monotonic() + timeout_s
    if not _slots.acquire(timeout=timeout_s):
        raise TimedOut(f"Other names took all of the time to find {host}.")
    lookup = _Lookup(host, port, _slots)
    try:
        lookup.start()
    except RuntimeError:  # the system has no more threads
        _slots.release()
        raise
    if not lookup.is_done.wait(max(0.0, ends_at - time.monotonic())):
        raise TimedOut(f"The name servers did not find {host} in time.")
    if isinstance(lookup.outcome, OSError):
        raise DnsFailed(f"{host} has no address: {lookup.outcome.strerror or lookup.outcome}.")
    return lookup.outcome


class _Lookup(threading.Thread):
    """One call of getaddrinfo. A daemon, so that a silent name server keeps no process from ending."""

    def __init__(self, host: str, port: int, slots: threading.Semaphore) -> None:
        super().__init__(name="lookup", daemon=True)
        self.host, self.port, self.slots = host, port, slots
        self.is_done = threading.Event()
        self.outcome: list[Address] | OSError = []

    def run(self) -> None:
        try:
            # As bytes, which Python hands on as they are; a text it would encode by an older IDNA.
            found = socket.getaddrinfo(self.host.encode("ascii"), self.port, type=socket.SOCK_STREAM)
            self.outcome = [*dict.fromkeys(ip_address(entry[4][0]) for entry in found)]
        except OSError as error:
            self.outcome = error
        finally:
            self.slots.release()
            self.is_done.set()


def _give_slots() -> None:
    global _slots
    _slots = threading.Semaphore(MAX_LOOKUPS)


_give_slots()
# The threads that hold slots are not there in a forked process.
os.register_at_fork(after_in_child=_give_slots)
