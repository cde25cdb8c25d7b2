"""Recording how claims ended, from a thread of its own with a database connection of its own, many at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import structlog
from django.db import InterfaceError, OperationalError, connection

from webhooks import dispatch
from webhooks.dispatch import Outcome

log = structlog.get_logger(__name__)

GATHER_S = 0.03  # in which others end: a transaction costs the same for one as for twenty
AT_ONCE = 500
AGAIN_S = 0.2


class Recorder:
    """One for each sender. `on_done` is told the receivers whose outcomes are done with, and which of them pause."""

    def __init__(self, on_done: Callable[[set[int], set[int]], None]) -> None:
        self._on_done = on_done
        self._waiting: list[Outcome] = []
        self._changed = threading.Condition()
        self._is_ending = False
        self._gives_up_at = float("inf")
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def put(self, *outcomes: Outcome) -> None:
        """Have outcomes recorded soon."""
        with self._changed:
            self._waiting += outcomes
            self._changed.notify()

    def end(self, patience_s: float) -> None:
        """Record what there is, for at most `patience_s`, and end."""
        with self._changed:
            self._is_ending, self._gives_up_at = True, time.monotonic() + patience_s
            self._changed.notify()
        self._thread.join(patience_s + AGAIN_S)

    def _run(self) -> None:
        try:
            while outcomes := self._gather():
                left = self._worth_trying(self._record(outcomes))
                with self._changed:
                    self._waiting += left
        finally:
            connection.close()

    def _gather(self) -> list[Outcome]:
        """Return what there is to record, after waiting for it; nothing at the end."""
        with self._changed:
            while not self._waiting and not self._is_ending:
                self._changed.wait()
            if not self._is_ending:
                self._changed.wait_for(lambda: self._is_ending or len(self._waiting) >= AT_ONCE, GATHER_S)
            gathered, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            return gathered

    def _record(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Record outcomes; return those that are still to be: the database is away, or a lock was in the way."""
        try:
            recorded = dispatch.record(outcomes)
        except (OperationalError, InterfaceError) as error:
            log.warning("callbacks_not_recorded", count=len(outcomes), error=str(error).strip())
            connection.close()
            time.sleep(AGAIN_S)
            return outcomes
        except Exception as error:
            connection.close()
            if len(outcomes) > 1:  # one that cannot be recorded is not in the way of the others
                return [left for outcome in outcomes for left in self._record([outcome])]
            # Its lease runs out, and it is sent again.
            log.error("callback_not_recordable", callback_id=outcomes[0].claim.callback_id, exc_info=error)
            self._on_done(_receivers_of(outcomes), set())
            return []
        self._on_done(_receivers_of(outcomes), recorded.paused)
        if recorded.locked:
            time.sleep(GATHER_S)
        return recorded.locked

    def _worth_trying(self, outcomes: list[Outcome]) -> list[Outcome]:
        if not outcomes or time.monotonic() < self._gives_up_at:
            return outcomes
        log.error("callbacks_given_up", count=len(outcomes), reason="the sender ends")
        self._on_done(_receivers_of(outcomes), set())
        return []


def _receivers_of(outcomes: Iterable[Outcome]) -> set[int]:
    return {outcome.claim.receiver_id for outcome in outcomes}
