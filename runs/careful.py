"""Careful mode: finding the input that its process dies of, by executing the inputs of a batch one by one.

A batch whose process was lost is careful from then on. Each input is written down before it is executed, and a
checkpoint follows it. So whoever claims the batch after the next loss knows which input it was at: it goes first, and
after some deaths it is failed without being executed again. See docs/decisions/0010-careful-mode.md.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog
from django.conf import settings

from rest.errors import WorkerLost
from runs import dispatch
from runs.calls import Call
from runs.checkpoint import LeaseLost, Outcome
from runs.leases import Lease, Suspect
from runs.runners import Admit, Runner, Work, runner_for
from runs.timeouts import InputTimeout
from runs.watchdog import DEAF_AFTER_S

log = structlog.get_logger(__name__)

MAX_DEATHS = 3
FOUND_WITHIN_S = 6.0  # of its death a process has a successor, which finds it dead
MAX_LEASES_HELD = 5  # for an input that was somebody's death already


@dataclass(frozen=True, slots=True)
class _Case:
    """An input to execute, and what is known against it."""

    work: Work
    deaths: int
    suspect: Suspect | None = None


class CarefulRunner:
    """One input a step: blamed, or written down and called. In the main thread or on the loop, never in threads.

    Once an input was blamed and the next has passed, the lease is careful no more, and nothing further is started.
    """

    def __init__(
        self,
        lease: Lease,
        call: Call,
        work: Iterable[Work],
        on_start: Callable[[], None],
        admit: Admit | None = None,
    ) -> None:
        self._lease = lease
        self._call = replace(call, limits=replace(call.limits, concurrency=1))
        self._waiting = deque(_cases(lease, work))
        self._on_start = on_start
        self._admit = admit
        self._in_hand: Runner | None = None
        self._deaths = 0
        self._blamed = False

    def step(self, until: float) -> list[Outcome]:
        if self._in_hand is None:
            if not self._waiting:
                return []
            case = self._waiting.popleft()
            failure = _verdict(case, self._call)
            if failure:
                self._blamed = True
                return [failure]
            if self._admit and not self._admit(1):
                self.stop()
                return []
            _mark(self._lease, case, self._call)
            self._deaths = case.deaths
            self._in_hand = runner_for(self._call, [case.work], on_start=self._on_start)
        outcomes = self._in_hand.step(until)
        if self._in_hand.is_finished and not self._in_hand.is_stuck:
            self._in_hand = None
        for outcome in outcomes:
            outcome.deaths = self._deaths
        if outcomes and self._blamed:
            self._lease.is_careful = False
            self.stop()
        return outcomes

    def stop(self) -> None:
        self._waiting.clear()

    def abandon(self) -> None:
        self.stop()
        if self._in_hand:
            self._in_hand.abandon()

    @property
    def is_finished(self) -> bool:
        return not self._waiting and (self._in_hand is None or self._in_hand.is_finished)

    @property
    def is_stuck(self) -> bool:
        return self._in_hand is not None and self._in_hand.is_stuck


def _cases(lease: Lease, work: Iterable[Work]) -> list[_Case]:
    """Return the inputs to execute, the one that was in hand when the last process was lost before the others."""
    suspect = lease.suspect
    cases: list[_Case] = []
    for one in work:
        if suspect and one.offset == suspect.offset:
            cases.insert(0, _Case(one, suspect.deaths, suspect))
        else:
            cases.append(_Case(one, lease.retries.get(one.offset, {}).get("deaths", 0)))
    return cases


def _verdict(case: _Case, call: Call) -> Outcome | None:
    """Return the failure of an input that is to blame for lost processes; None where it is executed once more."""
    suspect = case.suspect
    if suspect is None:
        return None
    error: BaseException
    # A process that hears no alarm is killed so long past the limit. One found dead sooner died of something else.
    if suspect.lived_s is not None and suspect.lived_s >= call.limits.timeout_s + DEAF_AFTER_S:
        error = InputTimeout()
    elif suspect.deaths >= MAX_DEATHS:
        message = f"The worker process died {suspect.deaths} times while it executed this input."
        error = WorkerLost(message, {"deaths": suspect.deaths})
    else:
        return None
    index = call.first_index + suspect.offset
    log.warning("input_blamed", run_uid=str(call.run_uid), index=index, deaths=suspect.deaths)
    started_at = suspect.since.timestamp() if suspect.since else time.time()
    outcome = call.failure(suspect.offset, case.work.attempt, started_at, error)
    return replace(outcome, finished_at=started_at + (suspect.lived_s or 0.0))


def _mark(lease: Lease, case: _Case, call: Call) -> None:
    """Write down that an input is about to be executed.

    Raises:
        LeaseLost: the batch is in other hands.
    """
    hold_s = 0.0
    if case.deaths:
        # It may hold the interpreter, so that nothing renews the lease. Nobody else is to try it meanwhile, and the
        # process that follows this one is to see that it died past the limit.
        longest_s = settings.RUNYARD_LEASE_SECONDS * MAX_LEASES_HELD
        hold_s = min(call.limits.timeout_s + DEAF_AFTER_S + FOUND_WITHIN_S, longest_s)
    if not dispatch.mark_suspect(lease, case.work.offset, deaths=case.deaths, hold_s=hold_s):
        raise LeaseLost
