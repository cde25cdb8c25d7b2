"""Holding the lease of the batch in hand, from a thread of its own: the main thread is inside an action.

A lease is held only while an input is within its time limit. When the process dies, hangs in C with the interpreter's
lock, or is past every limit, the lease runs out and the batch goes to another worker.
"""

from __future__ import annotations

import threading
import time

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from runs import dispatch
from runs.leases import Lease

log = structlog.get_logger(__name__)

RENEWALS_OF_A_LEASE = 3  # two may fail, and it is still held


class LeaseKeeper:
    """One for each process; `hold` and `let_go` frame the execution of a batch."""

    def __init__(self) -> None:
        self._lease: Lease | None = None
        self._until = 0.0
        self._is_lost = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def hold(self, lease: Lease) -> None:
        """Renew `lease` from now on, as long as `extend` says that work on it goes on."""
        with self._changed:
            self._lease, self._is_lost = lease, False
            self._until = time.monotonic() + settings.RUNYARD_LEASE_SECONDS
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._keep, name="lease-keeper", daemon=True)
                self._thread.start()
            self._changed.notify()

    def extend(self, seconds: float) -> None:
        """Allow renewing for `seconds` more, from now: an input with that time limit has just been started."""
        self._until = max(self._until, time.monotonic() + seconds)

    def let_go(self) -> None:
        with self._changed:
            self._lease = None

    @property
    def thread(self) -> threading.Thread | None:
        """The thread that renews, once there was something to hold."""
        return self._thread

    @property
    def is_lost(self) -> bool:
        """Whether the batch in hand is known to have gone to another worker."""
        return self._is_lost

    def _keep(self) -> None:
        interval_s = settings.RUNYARD_LEASE_SECONDS / RENEWALS_OF_A_LEASE
        while True:
            with self._changed:
                while self._lease is None:
                    self._changed.wait()
                lease = self._lease
                self._changed.wait(interval_s)
                if self._lease is not lease or time.monotonic() > self._until:
                    continue
            held = self._renew(lease)
            with self._changed:
                if self._lease is lease and held is False:
                    self._is_lost = True

    def _renew(self, lease: Lease) -> bool | None:
        """Return whether the lease is still ours; None when the database cannot say."""
        try:
            return dispatch.renew(lease.batch_id, lease.attempt)
        except (DatabaseError, InterfaceError) as error:
            log.warning("lease_not_renewed", run_uid=str(lease.run_uid), error=str(error).strip())
            connection.close()
            return None


keeper = LeaseKeeper()
