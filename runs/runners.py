"""Calling an action on the inputs of a batch: one after the other, in threads, or on an event loop.

All three have the same shape. `step` works for a while and returns what has ended; `stop` starts nothing more;
`is_finished` says that nothing is in hand and nothing will be started. Where the action has a rate, `admit` is asked
how many of so many inputs may be started; when it is fewer, no others are.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from django.db import connections
from psycopg.pq import TransactionStatus

from runs.calls import Call
from runs.checkpoint import Outcome
from runs.timeouts import InputTimeout, alarm, interrupt_thread

MAX_BYTES_IN_HAND = 4 * 1024 * 1024  # outputs held before they are written
GRACE_S = 0.5  # between asking a call to end and giving it up


Admit = Callable[[int], int]


class Work(NamedTuple):
    """One input to call the action on: its place in the batch, its JSON, and which attempt this is, from 1."""

    offset: int
    line: bytes
    attempt: int


class Runner(Protocol):
    """What executes a batch's inputs; used from one thread."""

    def step(self, until: float) -> list[Outcome]:
        """Work until about `until` (monotonic seconds), or until enough has ended; return what has ended."""
        ...

    def stop(self) -> None:
        """Start no further input; those in hand go on to their end."""
        ...

    def abandon(self) -> None:
        """End what is in hand as soon as it can be ended: nobody wants its outcome any more."""
        ...

    @property
    def is_finished(self) -> bool: ...

    @property
    def is_stuck(self) -> bool:
        """Whether something runs on that nobody can end: only a new process is rid of it."""
        ...


def runner_for(call: Call, work: Iterable[Work], *, on_start: Callable[[], None], admit: Admit | None = None) -> Runner:
    """Return the runner that fits the action. `on_start` is called before each input is started."""
    if call.definition.is_async:
        return AsyncRunner(call, work, on_start, admit)
    if call.limits.concurrency > 1:
        return ThreadRunner(call, work, on_start, admit)
    return SequentialRunner(call, work, on_start, admit)


class _Runner:
    """What the three have in common: the inputs not yet started, and those in hand."""

    is_stuck = False
    in_hand: Sized = ()

    def __init__(
        self, call: Call, work: Iterable[Work], on_start: Callable[[], None], admit: Admit | None = None
    ) -> None:
        self.call = call
        self.waiting = deque(work)
        self.on_start = on_start
        self._admit = admit

    def admitted(self, wanted: int) -> int:
        """Return how many of the next `wanted` inputs may be started. When some may not, nothing after them is."""
        wanted = min(wanted, len(self.waiting))
        if self._admit is None or not wanted:
            return wanted
        granted = self._admit(wanted)
        while granted < wanted and len(self.waiting) > granted:
            self.waiting.pop()
        return granted

    def take(self) -> Work:
        self.on_start()
        return self.waiting.popleft()

    def stop(self) -> None:
        self.waiting.clear()

    def abandon(self) -> None:
        self.stop()

    @property
    def is_finished(self) -> bool:
        return not self.waiting and not self.in_hand


class SequentialRunner(_Runner):
    """One input after the other, in the worker process itself; an alarm ends a call at its time limit."""

    def __init__(
        self, call: Call, work: Iterable[Work], on_start: Callable[[], None], admit: Admit | None = None
    ) -> None:
        super().__init__(call, work, on_start, admit)
        alarm.install()
        self._within_limit = functools.partial(alarm.call, call.limits.timeout_s)

    def step(self, until: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        size = 0
        while size < MAX_BYTES_IN_HAND and self.waiting and (self._admit is None or self.admitted(1)):
            offset, line, attempt = self.take()
            outcome = self.call.run(offset, line, attempt, self._within_limit)
            if outcome.error:
                drop_broken_connections()
            outcomes.append(outcome)
            size += outcome.size
            if time.monotonic() >= until:
                break
        alarm.cancel()
        return outcomes


def drop_broken_connections() -> None:
    """Close database connections that a call left in the middle of something.

    An action may use Django's, which are the engine's too: one that was ended inside a query would spoil the next
    input, and the checkpoint.
    """
    for used in connections.all(initialized_only=True):
        if used.connection is None:
            continue
        status = used.connection.info.transaction_status
        left_open = status != TransactionStatus.IDLE and not used.in_atomic_block
        if status == TransactionStatus.ACTIVE:
            with suppress(Exception):  # the server would go on with the query to its end
                used.connection.cancel_safe(timeout=1.0)
        if status == TransactionStatus.ACTIVE or left_open:
            used.close()


class ThreadRunner(_Runner):
    """Up to `concurrency` inputs at once, each in a thread. A call past its limit is interrupted, then given up."""

    def __init__(
        self, call: Call, work: Iterable[Work], on_start: Callable[[], None], admit: Admit | None = None
    ) -> None:
        super().__init__(call, work, on_start, admit)
        self.in_hand: dict[Future[Outcome], _InThread] = {}
        self._pool = ThreadPoolExecutor(call.limits.concurrency, thread_name_prefix="action")

    def step(self, until: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        size = 0
        while not self.is_finished and size < MAX_BYTES_IN_HAND and (now := time.monotonic()) < until:
            self._fill()
            next_look = min([until, *(one.next_look for one in self.in_hand.values())])
            ended, _ = wait(self.in_hand, timeout=max(next_look - now, 0.001), return_when=FIRST_COMPLETED)
            for outcome in [*(self.in_hand.pop(one).end(one) for one in ended), *self._overdue()]:
                outcomes.append(outcome)
                size += outcome.size
        if self.is_finished:
            self._pool.shutdown(wait=not self.is_stuck)
        return outcomes

    def _fill(self) -> None:
        for _ in range(self.admitted(self.call.limits.concurrency - len(self.in_hand)) if not self.is_stuck else 0):
            in_thread = _InThread(self.call, self.take())
            # With what names the batch in logs and traces, which a thread does not inherit.
            future = self._pool.submit(contextvars.copy_context().run, in_thread.run)
            self.in_hand[future] = in_thread

    def abandon(self) -> None:
        self.stop()
        for one in self.in_hand.values():
            one.deadline = 0.0
        while not self.is_finished:
            self.step(time.monotonic() + 1)

    def _overdue(self) -> list[Outcome]:
        given_up = []
        for future, one in list(self.in_hand.items()):
            if one.is_overdue(time.monotonic()):
                del self.in_hand[future]
                given_up.append(one.give_up())
                # Its thread runs on. Nothing more is started here: the process is about to be replaced.
                self.is_stuck = True
                self.stop()
        return given_up


class _InThread:
    """One call in a thread, as its process's main thread sees it."""

    def __init__(self, call: Call, work: Work) -> None:
        self.call = call
        self.work = work
        self.started_at = time.time()
        self.deadline = time.monotonic() + call.limits.timeout_s
        self.interrupted = False
        self.given_up_at = float("inf")
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._over = False

    @property
    def next_look(self) -> float:
        return self.given_up_at if self.interrupted else self.deadline

    def run(self) -> Outcome:
        self._thread = threading.current_thread()
        return self.call.run(self.work.offset, self.work.line, self.work.attempt, self._guarded)

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        finally:
            with self._lock:
                self._over = True

    def is_overdue(self, now: float) -> bool:
        """Interrupt the call when it is past its limit; return True when that has not helped either."""
        if now < self.next_look:
            return False
        if self.interrupted:
            return True
        self.interrupted = True
        self.given_up_at = now + GRACE_S
        with self._lock:
            if self._thread and not self._over:
                interrupt_thread(self._thread)
        return False

    def end(self, future: Future[Outcome]) -> Outcome:
        error = future.exception()
        if error is not None:  # the interrupt came just as the call had ended
            return self.call.failure(self.work.offset, self.work.attempt, self.started_at, error)
        return future.result()

    def give_up(self) -> Outcome:
        return self.call.failure(self.work.offset, self.work.attempt, self.started_at, InputTimeout())


class AsyncRunner(_Runner):
    """Up to `concurrency` inputs at once on the process's event loop, which stays the same over its life."""

    def __init__(
        self, call: Call, work: Iterable[Work], on_start: Callable[[], None], admit: Admit | None = None
    ) -> None:
        super().__init__(call, work, on_start, admit)
        self._may_start = 0
        self._loop = event_loop()
        alarm.install()
        self.in_hand: dict[asyncio.Task[Outcome], _OnLoop] = {}
        self._turned_at = time.monotonic()

    def step(self, until: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        alarm.arm(self.call.limits.timeout_s + GRACE_S, self._is_blocking)
        try:
            asks = True
            while asks and not self.is_finished:
                # Where it may ask the database: not on the loop, which calls of other inputs share.
                self._may_start = self.admitted(self.call.limits.concurrency - len(self.in_hand))
                asks = self._loop.run_until_complete(self._step(until, outcomes))
        finally:
            alarm.cancel()
        if any(outcome.error for outcome in outcomes):
            drop_broken_connections()
        return outcomes

    async def _step(self, until: float, outcomes: list[Outcome]) -> bool:
        """Work until about `until`, or until enough has ended. Returns whether it goes on once more may start."""
        size = sum(outcome.size for outcome in outcomes)
        while not self.is_finished and size < MAX_BYTES_IN_HAND and (now := time.monotonic()) < until:
            while self.waiting and len(self.in_hand) < self.call.limits.concurrency:
                if self._admit is not None:
                    if not self._may_start:
                        return True
                    self._may_start -= 1
                work = self.take()
                task = asyncio.create_task(self.call.run_async(work.offset, work.line, work.attempt))
                self.in_hand[task] = _OnLoop(work, time.time(), now + self.call.limits.timeout_s + GRACE_S)
            self._turned_at = time.monotonic()
            look_s = min(until - now, GRACE_S / 2)
            ended, _ = await asyncio.wait(self.in_hand, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
            for outcome in [*(self.in_hand.pop(task).end(task, self.call) for task in ended), *self._overdue()]:
                outcomes.append(outcome)
                size += outcome.size
        return False

    def _overdue(self) -> list[Outcome]:
        """Give up calls that go on although they were cancelled at their limit."""
        overdue = [task for task, one in self.in_hand.items() if one.given_up_at <= time.monotonic()]
        if overdue:
            # They run on. Nothing more is started here: the process is about to be replaced.
            self.is_stuck = True
            self.stop()
        return [self.in_hand.pop(task).give_up(self.call) for task in overdue]

    def abandon(self) -> None:
        self.stop()
        for task, one in self.in_hand.items():
            task.cancel()
            one.given_up_at = time.monotonic() + GRACE_S
        while not self.is_finished:
            self.step(time.monotonic() + 1)

    def _is_blocking(self) -> bool:
        """Whether a call past its limit holds the loop; asked by the alarm, in the middle of whatever runs."""
        alarm.arm(GRACE_S, self._is_blocking)  # the next call may hold the loop too
        running = asyncio.current_task(self._loop)
        now = time.monotonic()
        overdue = {task for task, one in self.in_hand.items() if one.given_up_at <= now}
        # A task that a call has made is to blame when the loop stands still while a call is past its limit.
        stands_still = now - self._turned_at > GRACE_S and running not in self.in_hand
        if running is None or not (running in overdue or (overdue and stands_still)):
            return False
        for task in overdue:  # those that it held up have time to end now
            self.in_hand[task].given_up_at = now + GRACE_S
        return True


@dataclass(slots=True)
class _OnLoop:
    work: Work
    started_at: float
    given_up_at: float  # monotonic: its limit, and some time to end after it was told to

    def end(self, task: asyncio.Task[Outcome], call: Call) -> Outcome:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            return call.failure(self.work.offset, self.work.attempt, self.started_at, error)
        return task.result()

    def give_up(self, call: Call) -> Outcome:
        return call.failure(self.work.offset, self.work.attempt, self.started_at, InputTimeout())


_event_loop: asyncio.AbstractEventLoop | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the process's loop for actions: clients that an action keeps between calls stay usable."""
    global _event_loop
    if _event_loop is None or _event_loop.is_closed():
        _event_loop = asyncio.new_event_loop()
    return _event_loop
