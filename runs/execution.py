"""What a worker that wakes does: claim a batch, execute a slice of it, write checkpoints, let go of it.

A slice is about two seconds and the input in hand. Then the batch goes back, so that another run's turn comes and a
worker that is told to stop stops soon.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from actions import catalogue, registry
from rest.errors import ApiError
from runs import checkpoint, dispatch, doorbell, gates, notices
from runs.calls import Call, input_error_of
from runs.careful import CarefulRunner
from runs.checkpoint import LeaseLost, Outcome
from runs.chunks import unpack_lines
from runs.lease_keeper import keeper
from runs.leases import Lease
from runs.runners import GRACE_S, Runner, Work, runner_for
from runs.siblings import worker_name
from runs.uids import batch_uid, input_uid
from runs.watchdog import ARMED_AHEAD_S, DEAF_AFTER_S, NoWatchdog, Watchdog, killed_after
from telemetry import tracing

log = structlog.get_logger(__name__)

SLICE_S = 2.0
CHECKPOINT_S = 1.0
RECORD_AGAIN_S = 0.2
STARTS_TOLD_S = 0.05  # of inputs that take less than that, one start is told for all
KILL_AFTER_S = 1.0  # past a live call's time limit, for a process that is deaf to it


class ProcessStuck(Exception):
    """A call runs on in this process that nothing can end. All else is recorded: the process should be replaced."""


def execute_slice(*, slice_s: float = SLICE_S) -> bool:
    """Execute batches for about `slice_s`. Returns whether it found any: then there may be more.

    Raises:
        ProcessStuck: see there.
    """
    stop_at = time.monotonic() + slice_s
    found = False
    while time.monotonic() < stop_at:
        lease = dispatch.claim(worker=worker_name(), actions=registry.names(), now=timezone.now())
        if lease is None:
            break
        found = True
        execute(lease, stop_at=stop_at)
    return found


def execute_live() -> bool:
    """Execute the live call that waits longest. Returns whether there was one.

    Its process is killed when it is still at it some time after the action's time limit.

    Raises:
        ProcessStuck: the call was ended at its limit, and threads that it began run on. Its end is recorded.
    """
    lease = dispatch.claim_live(worker=worker_name(), actions=registry.names(), now=timezone.now())
    if lease is None:
        return False
    timeout_s = catalogue.limits(*catalogue.entry(lease.action)).timeout_s
    before = set(threading.enumerate())
    started = time.monotonic()
    try:
        with killed_after(timeout_s + KILL_AFTER_S) as spare:
            execute(lease, stop_at=float("inf"), on_end=spare)
    finally:
        notices.post(lease.run_uid)
    if time.monotonic() - started >= timeout_s and set(threading.enumerate()) - before - {keeper.thread}:
        raise ProcessStuck
    return True


def execute(lease: Lease, *, stop_at: float, on_end: Callable[[], None] = lambda: None) -> None:
    """Execute the inputs of a claimed batch that have no result, until `stop_at` (monotonic), and let go of it.

    `on_end` is called when the action has been called on the last of them, and what became of it is still to record.

    Raises:
        ProcessStuck: after everything was recorded.
    """
    named = {"run_uid": str(lease.run_uid), "batch_uid": str(batch_uid(lease.run_uid, lease.first_index))}
    traced = {f"runyard.{name}": value for name, value in named.items()}
    with (
        structlog.contextvars.bound_contextvars(**named),
        tracing.span(f"execute {lease.action.name}", "consumer", parent=lease.traceparent, **traced),
    ):
        _execute(lease, stop_at=stop_at, on_end=on_end)


def _execute(lease: Lease, *, stop_at: float, on_end: Callable[[], None]) -> None:
    try:
        call = _call_of(lease)
    except ApiError as error:
        _fail_all(lease, error)
        return
    timeout_s = call.limits.timeout_s
    # Who has a live call watched it already. Others are held until a process that is deaf to the limit is dead.
    watchdog = NoWatchdog() if lease.is_live else Watchdog(timeout_s)
    held_s = timeout_s + (2 * GRACE_S if lease.is_live else DEAF_AFTER_S + ARMED_AHEAD_S)

    told_at = float("-inf")

    def on_start() -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at > STARTS_TOLD_S:
            told_at = now
            keeper.extend(held_s + STARTS_TOLD_S)
            watchdog.note_start()

    keeper.hold(lease)
    permits = gates.permits_of(lease, call.limits)
    admit = permits.take if permits else None
    runner: Runner
    if lease.is_careful:
        runner = CarefulRunner(lease, call, _work_of(lease), on_start, admit)
    else:
        runner = runner_for(call, _work_of(lease), on_start=on_start, admit=admit)
    try:
        _run(lease, runner, watchdog, stop_at=stop_at, on_end=on_end)
    except LeaseLost:
        log.info("lease_lost")
        with watchdog.watching():
            runner.abandon()
        dispatch.let_go(lease)
    except Exception as error:
        with watchdog.watching():
            runner.abandon()
        if runner.is_stuck:
            raise ProcessStuck from error
        raise
    finally:
        keeper.let_go()
        if permits and permits.closed_for_s is not None:
            doorbell.ring_after(permits.closed_for_s)
    if runner.is_stuck:
        raise ProcessStuck


def _run(
    lease: Lease, runner: Runner, watchdog: Watchdog | NoWatchdog, *, stop_at: float, on_end: Callable[[], None]
) -> None:
    while True:
        with watchdog.watching():
            outcomes = runner.step(_next_look(stop_at))
        if keeper.is_lost:
            raise LeaseLost
        if time.monotonic() >= stop_at:
            runner.stop()
        finished = runner.is_finished
        if finished:
            on_end()
        if outcomes or finished:
            _record(lease, outcomes, release=finished)
        if finished:
            return


def _record(lease: Lease, outcomes: Sequence[Outcome], *, release: bool) -> None:
    """Write a checkpoint.

    That of a live call is tried as long as the lease may last: nobody executes it again. So is that of a careful batch:
    an input whose result is lost would pass for one that its process died of.
    """
    is_patient = lease.is_live or lease.is_careful
    give_up_at = time.monotonic() + (settings.RUNYARD_LEASE_SECONDS if is_patient else 0)
    while True:
        try:
            return checkpoint.write(lease, outcomes, release=release)
        except (OperationalError, InterfaceError):
            if time.monotonic() >= give_up_at:
                raise
            connection.close()
            time.sleep(RECORD_AGAIN_S)


def _next_look(stop_at: float) -> float:
    """Return when to look up from the work: at the end of the slice, and each second before and after it."""
    now = time.monotonic()
    return min(now + CHECKPOINT_S, stop_at if now < stop_at else float("inf"))


def _call_of(lease: Lease) -> Call:
    definition, row = catalogue.entry(lease.action)
    parameters, max_results = definition.split_max_results(lease.parameters)
    limits = catalogue.limits(definition, row)
    if lease.is_live:  # one input, tried once: in the process's main thread, where the alarm ends all that waits
        limits = replace(limits, max_attempts=1, concurrency=1)
    return Call(
        definition=definition,
        limits=limits,
        parameters=definition.load_parameters(parameters),
        max_results=max_results,
        run_uid=lease.run_uid,
        first_index=lease.first_index,
        identity_ids=tuple(lease.identity_ids or ()),
        identity_mode=lease.identity_mode or None,
    )


def _fail_all(lease: Lease, error: ApiError) -> None:
    """Fail what is left of a batch that cannot be called: its parameters fitted at launch, and the code has changed."""
    now = time.time()
    outcomes = []
    for work in _work_of(lease):
        stored = input_error_of(error, str(input_uid(lease.run_uid, lease.first_index + work.offset)))
        outcomes.append(Outcome(work.offset, work.attempt, now, now, error=stored))
    with suppress(LeaseLost):
        checkpoint.write(lease, outcomes, release=True)


def _work_of(lease: Lease) -> Iterator[Work]:
    """Yield the inputs without a result whose retry, if they asked for one, is due."""
    lines = unpack_lines(lease.inputs)
    now = time.time()
    for offset in lease.done.missing():
        retry = lease.retries.get(offset)
        if retry is None:
            yield Work(offset, lines[offset], attempt=1)
        elif retry["due_at"] <= now:
            yield Work(offset, lines[offset], attempt=retry["attempts"] + 1)
