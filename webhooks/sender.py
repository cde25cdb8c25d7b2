"""Sending callbacks from threads that live on between the slices that claim for them.

A slice claims what is due while there is room for it, and hands it to threads; a recorder writes down what came of it.
What is under way when a slice ends goes on without it. Each process has one sender.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Collection, Sequence

import structlog
from django.conf import settings
from django.utils import timezone

from webhooks import delivery, dispatch
from webhooks.delivery import Attempt
from webhooks.dispatch import Claim, Outcome
from webhooks.lines import Lines
from webhooks.parcels import Parcel, Reader
from webhooks.recorder import Recorder

log = structlog.get_logger(__name__)

SLICE_S = 1.0
LOOK_S = 0.05  # how often a slice looks for what has become due, while something is under way
LOOK_AGAIN_S = 0.005  # when what is due is in other hands for a moment
PATIENCE_S = 2.5  # with what is under way when the process ends; see config.celery for how long that may take
RECORD_S = 1.0


class Sender:
    """Threads that send, what they send next, and the recorder. `worker` is what its claims name it."""

    def __init__(self, threads: int, worker: str) -> None:
        self._worker = worker
        self._most_threads = threads
        self._reader = Reader()
        self._lock = threading.Lock()
        self._has_work, self._has_room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._lines = Lines(threads)
        self._under_way: dict[int, Parcel] = {}
        self._threads = self._idle = 0
        self._served_last = 0  # a workspace: they take turns
        self._wanted: Collection[int] | None = ()  # receivers whose room the slice waits for; None: of any
        self._is_stopping = False
        self._recorder = Recorder(self._done)

    # --- The slice: called from one thread

    def send_slice(self, slice_s: float = SLICE_S) -> bool:
        """Claim what is due and have it sent, for about `slice_s`. Returns whether there is, or may be, more to do.

        Ends sooner when nothing is due, under way or to be recorded.
        """
        stop_at = time.monotonic() + slice_s
        found = False
        self._hand_back_stale()
        while (left_s := stop_at - time.monotonic()) > 0 and not self._is_stopping:
            with self._lock:
                full, full_workspaces = self._lines.full(), self._lines.full_workspaces()
                may_take_more = self._lines.may_take_more
            claims = self._claim(full, full_workspaces) if may_take_more else None
            found = found or claims is not None
            if claims:
                self._start(self._reader.read(claims, now=timezone.now()))
                continue
            with self._lock:
                if claims is None and not full and self._lines.is_empty:
                    break
                self._wanted = full if may_take_more else None
                self._has_room.wait(min(left_s, LOOK_S if claims is None else LOOK_AGAIN_S))
                self._wanted = ()
        return found or not self._lines.is_empty

    def _claim(self, full: Collection[int], full_workspaces: Collection[int]) -> list[Claim] | None:
        claims = dispatch.claim(
            worker=self._worker,
            room=self._room,
            without=full,
            without_workspaces=full_workspaces,
            after_workspace=self._served_last,
        )
        if claims:
            self._served_last = claims[0].workspace_id
        return claims

    def _start(self, parcels: Sequence[Parcel]) -> None:
        with self._lock:
            for parcel in parcels:
                self._lines.add(parcel)
            self._has_work.notify(len(parcels))
            missing = max(0, min(len(parcels) - self._idle, self._most_threads - self._threads))
            self._threads += missing
        for started in range(missing):
            try:
                threading.Thread(target=self._run, name="callbacks", daemon=True).start()
            except RuntimeError as error:  # the system has no more: those that there are go on
                log.warning("threads_not_started", count=missing - started, error=str(error))
                with self._lock:
                    self._threads -= missing - started
                break

    def _room(self, receiver_id: int, workspace_id: int) -> int:
        with self._lock:
            return self._lines.room(receiver_id, workspace_id)

    def _hand_back_stale(self) -> None:
        """Let others send what has waited here for a thread for too long."""
        with self._lock:
            self._hand_back(self._lines.take_back_late(time.monotonic()))

    # --- The threads

    def _run(self) -> None:
        while True:
            with self._lock:
                parcel = self._next()
            if parcel is None:
                return
            outcome = _send(parcel)
            with self._lock:
                self._end(parcel, outcome)

    def _next(self) -> Parcel | None:
        """Return what to send, after waiting for it; None when the sender stops."""
        while not self._is_stopping:
            parcel = self._lines.begin()
            if parcel is None:
                self._idle += 1
                self._has_work.wait()
                self._idle -= 1
                continue
            self._under_way[parcel.claim.callback_id] = parcel
            if self._idle and self._lines.has_next():
                self._has_work.notify()
            self._tell_room(parcel)
            return parcel
        return None

    def _end(self, parcel: Parcel, outcome: Outcome) -> None:
        self._under_way.pop(parcel.claim.callback_id, None)
        self._lines.end(parcel, outcome.attempt)
        self._recorder.put(outcome)
        if self._is_stopping or self._lines.is_empty:
            self._has_room.notify_all()
        else:
            self._tell_room(parcel)

    def _tell_room(self, parcel: Parcel) -> None:
        """Wake the slice if it waits for this: it would ask the database in vain after each callback that ends."""
        receiver_id, workspace_id = parcel.claim.receiver_id, parcel.claim.workspace_id
        if (self._wanted is None or receiver_id in self._wanted) and self._lines.room(receiver_id, workspace_id):
            self._has_room.notify()

    # --- What became of it

    def _done(self, receiver_ids: set[int], paused: set[int]) -> None:
        """Go on with receivers whose outcomes are recorded; leave alone those that are paused."""
        with self._lock:
            for receiver_id in paused:
                self._hand_back(self._lines.take_back(receiver_id))
            for receiver_id in receiver_ids:
                self._lines.forgive(receiver_id)
            if self._lines.has_next():
                self._has_work.notify()
            self._has_room.notify_all()

    def _hand_back(self, parcels: list[Parcel]) -> None:
        if parcels:
            self._recorder.put(*(Outcome(parcel.claim) for parcel in parcels))

    def stop(self, patience_s: float = PATIENCE_S) -> None:
        """Begin nothing more, wait a while for what is under way, record it, and hand back all else."""
        with self._lock:
            self._is_stopping = True
            self._hand_back(self._lines.take_back_all())
            self._has_work.notify_all()
            self._has_room.wait_for(lambda: not self._under_way, patience_s)
            self._hand_back(list(self._under_way.values()))
        self._recorder.end(RECORD_S)


def _send(parcel: Parcel) -> Outcome:
    if time.monotonic() > parcel.claim.start_by:
        return Outcome(parcel.claim)
    now = timezone.now()
    try:
        attempt = delivery.attempt(
            parcel.url, parcel.headers, parcel.body, ref_uid=parcel.claim.ref_uid, secrets=parcel.secrets, now=now
        )
    except Exception as error:  # a defect of ours; what it says may quote a header
        log.error("callback_not_sent", callback_id=parcel.claim.callback_id, error=type(error).__name__)
        attempt = Attempt(now, None, None, 0, "The request could not be made.")
    return Outcome(parcel.claim, attempt)


_senders: dict[int, Sender] = {}  # by process: a fork has none of its parent's threads


def send_slice(slice_s: float = SLICE_S) -> bool:
    """Send callbacks for about `slice_s`, with this process's sender. Returns whether there may be more to do."""
    pid = os.getpid()
    if pid not in _senders:
        _senders[pid] = Sender(settings.RUNYARD_CALLBACK_THREADS, f"{socket.gethostname()}:{pid}")
    return _senders[pid].send_slice(slice_s)


def stop(patience_s: float = PATIENCE_S) -> None:
    """End this process's sender, if it has one: see `Sender.stop`."""
    if (sender := _senders.pop(os.getpid(), None)) is not None:
        sender.stop(patience_s)
