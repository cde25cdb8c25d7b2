"""How a run went over time: what succeeded and failed in each of some sixty spans from its start to its end or now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, NamedTuple

from django.db import connection

from runs.models import Run

SPANS = 60
RECENT = timedelta(seconds=30)
WIDTH, HEIGHT = 600, 100


@dataclass(frozen=True, slots=True)
class Span:
    """The results recorded in one stretch of time."""

    begins_at: datetime
    ends_at: datetime
    succeeded: int
    failed: int

    @property
    def rate(self) -> float:
        """Results a second."""
        return (self.succeeded + self.failed) / (self.ends_at - self.begins_at).total_seconds()


@dataclass(frozen=True, slots=True)
class RunChart:
    """The spans of a run, out of `inputs` that can be executed. `chunks` is what reading it costs."""

    spans: Sequence[Span]
    inputs: int
    recent: int
    chunks: int

    @property
    def begins_at(self) -> datetime:
        return self.spans[0].begins_at

    @property
    def ends_at(self) -> datetime:
        return self.spans[-1].ends_at

    @property
    def recent_rate(self) -> float:
        """Results a second in the last half minute, or since the beginning."""
        return self.recent / min((self.ends_at - self.begins_at).total_seconds(), RECENT.total_seconds())

    @property
    def rate(self) -> float:
        """Results a second from the beginning to the end."""
        ended = sum(span.succeeded + span.failed for span in self.spans)
        return ended / (self.ends_at - self.begins_at).total_seconds()

    @property
    def peak(self) -> float:
        """The highest rate of a span."""
        return max(span.rate for span in self.spans)

    @property
    def succeeded_area(self) -> str:
        """The points of the area of what had succeeded, as SVG writes them."""
        return _area(self._heights(lambda span: span.succeeded), [0.0] * (len(self.spans) + 1))

    @property
    def failed_area(self) -> str:
        """The points of the area of what had failed, upon the other."""
        return _area(
            self._heights(lambda span: span.succeeded + span.failed), self._heights(lambda span: span.succeeded)
        )

    def _heights(self, count: Callable[[Span], int]) -> list[float]:
        # Inputs that ran again failed more often than there are inputs.
        sums = accumulate(map(count, self.spans), initial=0)
        return [HEIGHT * min(ended / self.inputs, 1) for ended in sums]

    @property
    def bars(self) -> Iterator[tuple[str, str, str, str, Span]]:
        """Yield the x, y, width and height of each span's rate, and the span."""
        width = WIDTH / len(self.spans)
        for place, span in enumerate(self.spans):
            height = HEIGHT * span.rate / (self.peak or 1)
            numbers = (place * width, HEIGHT - height, width * 0.8, height)
            x, y, wide, high = (f"{number:.1f}" for number in numbers)
            if span.rate:
                yield x, y, wide, high, span


def _area(upper: Sequence[float], lower: Sequence[float]) -> str:
    step = WIDTH / (len(upper) - 1)
    there = [f"{place * step:.1f},{HEIGHT - height:.1f}" for place, height in enumerate(upper)]
    back = [f"{place * step:.1f},{HEIGHT - height:.1f}" for place, height in enumerate(lower)]
    return " ".join([*there, *reversed(back)])


class _Row(NamedTuple):
    """What is read of a span: its number from 1, what was recorded in it, of how many chunks, how much of it late."""

    place: int
    succeeded: int
    failed: int
    chunks: int
    recent: int


_SPANS = """
SELECT width_bucket(extract(epoch FROM created_at), %(begin)s, %(end)s, %(spans)s),
       sum(succeeded_count), sum(failed_count), count(*),
       coalesce(sum(succeeded_count + failed_count) FILTER (WHERE created_at > %(recent)s), 0)
  FROM runs_resultchunk
 WHERE run_id = %(run)s
 GROUP BY 1
"""


def run_chart(run: Run, *, now: datetime) -> RunChart | None:
    """Return how the run went until `now`, in one query over its checkpoints; None where nothing was executed yet."""
    if run.started_at is None:
        return None
    ends_at = max(run.finished_at or now, run.started_at + timedelta(seconds=1))
    found = _read(run, run.started_at, ends_at)
    if not found:
        return None
    step = (ends_at - run.started_at) / SPANS
    counts = [[0, 0] for _ in range(SPANS)]
    for row in found:
        # The clocks of workers differ: what is before the first span or after the last is of these.
        place = min(max(row.place - 1, 0), SPANS - 1)
        counts[place][0] += row.succeeded
        counts[place][1] += row.failed
    spans = [
        Span(run.started_at + place * step, run.started_at + (place + 1) * step, *pair)
        for place, pair in enumerate(counts)
    ]
    inputs = max(run.progress.input_count - run.progress.invalid_count, 1)
    return RunChart(spans, inputs, recent=sum(row.recent for row in found), chunks=sum(row.chunks for row in found))


def _read(run: Run, begins_at: datetime, ends_at: datetime) -> list[_Row]:
    asked: dict[str, Any] = {
        "run": run.pk,
        "begin": begins_at.timestamp(),
        "end": ends_at.timestamp(),
        "spans": SPANS,
        "recent": ends_at - RECENT,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SPANS, asked)
        return [_Row(*map(int, row)) for row in cursor.fetchall()]
