"""Which callback of those in this process a thread sends next, so that nobody who is slow takes all threads.

A receiver may hold at most as many threads as are free: alone it gets half of them, two get a third each, and one that
comes when others hold theirs gets half of what they left. All receivers of a workspace together may hold eight times as
many as are free: however many origins it has, a ninth is left to others. This is the dynamic threshold of Choudhury and
Hahne ("Dynamic queue length thresholds for shared-memory packet switches", 1998), with threads for memory. Receivers
take turns.

Nothing here waits or locks: `webhooks.sender` does.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field

from webhooks.delivery import Attempt
from webhooks.parcels import Parcel
from webhooks.pausing import FAILURES_IN_ROW, speaks_against

AHEAD_S = 0.05
NEWEST = 0.2  # what the last duration weighs in the average
WORKSPACE_SHARE = 8  # threads of a workspace for each that is free
MAX_BYTES = 64 * 1024 * 1024  # of bodies that wait or are under way: with more nothing is claimed


@dataclass(slots=True)
class Line:
    """A receiver's callbacks in this process: those that wait for a thread, and how many threads are at work.

    `failures` are those in a row that are not recorded yet: when they are enough for a pause nothing more is begun, and
    until then they are not forgotten.
    """

    workspace_id: int
    waiting: deque[Parcel] = field(default_factory=deque)
    held: int = 0
    failures: int = 0
    duration_s: float = math.inf

    @property
    def is_empty(self) -> bool:
        return not self.waiting and not self.held and not self.failures

    @property
    def is_doubtful(self) -> bool:
        return self.failures >= FAILURES_IN_ROW


class Lines:
    """All of a process's lines, by receiver, and how many of its threads are free."""

    def __init__(self, threads: int) -> None:
        self.free = threads
        self.bytes = 0
        self._lines: dict[int, Line] = {}
        self._held_by: Counter[int] = Counter()  # workspaces
        self._turns: deque[int] = deque()  # receivers that have something waiting, next first

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, is under way or is to be recorded as failed."""
        return not self._lines

    @property
    def may_take_more(self) -> bool:
        """Whether a thread is free, and memory for what it would send."""
        return self.free > 0 and self.bytes < MAX_BYTES

    def room(self, receiver_id: int, workspace_id: int) -> int:
        """Return how many more of a receiver's callbacks are of use here: to be begun, or next to be.

        The next are as many as it is likely to take in the time of a claim, so that no thread waits for one. A slow
        receiver has none of those: they would only be missing elsewhere.
        """
        line = self._lines.get(receiver_id) or Line(workspace_id)
        if line.is_doubtful:
            return 0
        of_receiver = math.ceil((self.free - line.held) / 2)
        held = self._held_by[workspace_id]
        of_workspace = math.ceil((WORKSPACE_SHARE * (self.free + 1) - held) / (WORKSPACE_SHARE + 1)) - 1
        startable = max(0, min(of_receiver, of_workspace))
        threads = line.held + startable
        ahead = int(threads * min(1.0, AHEAD_S / max(line.duration_s, AHEAD_S / 10)))
        missing = startable + ahead - len(line.waiting)
        # A few at once cost as much as one.
        return missing if missing >= max(1, ahead // 2) else 0

    def full(self) -> list[int]:
        """Return the receivers of which no more is of use for now."""
        return [key for key, line in self._lines.items() if not self.room(key, line.workspace_id)]

    def full_workspaces(self) -> list[int]:
        """Return the workspaces that hold their share of the threads."""
        return [key for key in self._held_by if self._is_full(key)]

    def _is_full(self, workspace_id: int) -> bool:
        return self._held_by[workspace_id] + 1 >= WORKSPACE_SHARE * self.free

    def add(self, parcel: Parcel) -> None:
        receiver_id = parcel.claim.receiver_id
        line = self._lines.setdefault(receiver_id, Line(parcel.claim.workspace_id))
        self.bytes += len(parcel.body)
        if not line.waiting:
            self._turns.append(receiver_id)
        line.waiting.append(parcel)

    def has_next(self) -> bool:
        """Return whether a thread may begin something."""
        return any(self._may_begin(self._lines[receiver_id]) for receiver_id in self._turns)

    def begin(self) -> Parcel | None:
        """Return what a thread sends next, and count it as under way; None where no receiver may hold one more."""
        for _ in range(len(self._turns)):
            receiver_id = self._turns.popleft()
            line = self._lines[receiver_id]
            may_begin = self._may_begin(line)
            parcel = line.waiting.popleft() if may_begin else None
            if line.waiting:
                self._turns.append(receiver_id)
            if parcel:
                line.held += 1
                self.free -= 1
                self._held_by[line.workspace_id] += 1
                return parcel
        return None

    def _may_begin(self, line: Line) -> bool:
        return line.held < self.free and not self._is_full(line.workspace_id) and not line.is_doubtful

    def end(self, parcel: Parcel, attempt: Attempt | None) -> None:
        """Count one as ended, with what came of it if it was sent."""
        line = self._lines[parcel.claim.receiver_id]
        line.held -= 1
        self.free += 1
        self.bytes -= len(parcel.body)
        self._held_by[line.workspace_id] -= 1
        if not self._held_by[line.workspace_id]:
            del self._held_by[line.workspace_id]
        if attempt is not None:
            line.failures = line.failures + 1 if speaks_against(attempt) else 0
            duration_s = attempt.duration_ms / 1000
            known = line.duration_s < math.inf
            line.duration_s = line.duration_s + (duration_s - line.duration_s) * NEWEST if known else duration_s
        self._drop_empty(parcel.claim.receiver_id)

    def take_back(self, receiver_id: int) -> list[Parcel]:
        """Return all that waits of a receiver, which then does not wait any more."""
        line = self._lines.get(receiver_id)
        if line is None or not line.waiting:
            return []
        taken = list(line.waiting)
        line.waiting.clear()
        self.bytes -= sum(len(parcel.body) for parcel in taken)
        self._turns.remove(receiver_id)
        self._drop_empty(receiver_id)
        return taken

    def take_back_late(self, now: float) -> list[Parcel]:
        """Return what waits of receivers whose first should have been begun before `now` (monotonic)."""
        late = [key for key in self._turns if self._lines[key].waiting[0].claim.start_by < now]
        return [parcel for receiver_id in late for parcel in self.take_back(receiver_id)]

    def take_back_all(self) -> list[Parcel]:
        """Return all that waits."""
        return [parcel for receiver_id in list(self._turns) for parcel in self.take_back(receiver_id)]

    def forgive(self, receiver_id: int) -> None:
        """Count the failures of a receiver as recorded."""
        if line := self._lines.get(receiver_id):
            line.failures = 0
            self._drop_empty(receiver_id)

    def _drop_empty(self, receiver_id: int) -> None:
        if self._lines[receiver_id].is_empty:
            del self._lines[receiver_id]
