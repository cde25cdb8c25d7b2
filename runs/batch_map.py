"""A map of a run's batches: a cell for each, or for some that follow one another where there are too many to see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from runs.models import Run

MOST_CELLS = 1_000
KINDS = {
    "done": "done",
    "partial": "failed in part",
    "failed": "failed",
    "running": "running",
    "waiting": "waiting",
    "ready": "ready",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of the batches of one cell. Failed inputs include the invalid ones."""

    first_index: int
    input_count: int
    batch_count: int
    done_batches: int
    running_batches: int
    waiting_batches: int
    ended: int
    succeeded: int
    attempt: int
    crashes: int

    @property
    def failed(self) -> int:
        """How many inputs stand failed."""
        return self.ended - self.succeeded

    @property
    def kind(self) -> str:
        """One of `KINDS`: what should be seen of it first."""
        if self.running_batches:
            return "running"
        if self.done_batches == self.batch_count:
            return ("failed" if self.failed == self.input_count else "partial") if self.failed else "done"
        return "waiting" if self.waiting_batches else "ready"

    @property
    def style(self) -> str:
        """How full it is where it is not done, and how much of it failed where that is a part; few are seen as well."""
        if self.kind == "partial":
            return f"--bad-part:{15 + 70 * self.failed // self.input_count}%"
        done = 100 * self.ended // self.input_count
        return f"--done:{done}%" if done and self.kind not in ("done", "failed") else ""

    @property
    def told(self) -> str:
        """The cell in words."""
        parts = [f"{self.succeeded:,} succeeded"]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        left = self.input_count - self.ended
        parts += [f"{left:,} to come"] if left else []
        parts += [f"attempt {self.attempt}"] if self.attempt > 1 else []
        parts += [f"{self.crashes} crash{'' if self.crashes == 1 else 'es'}"] if self.crashes else []
        last = self.first_index + self.input_count - 1
        batches = f"{self.batch_count:,} batches, inputs" if self.batch_count > 1 else "Inputs"
        return f"{batches} {self.first_index:,} to {last:,}, {KINDS[self.kind]}: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class BatchMap:
    """The cells, and how many batches one stands for at most."""

    cells: Sequence[Cell]
    batches_a_cell: int

    @property
    def batch_count(self) -> int:
        """How many batches there are."""
        return sum(cell.batch_count for cell in self.cells)

    @property
    def crashes(self) -> int:
        """How often a batch's process died."""
        return sum(cell.crashes for cell in self.cells)

    @property
    def legend(self) -> list[tuple[str, str, int]]:
        """The kinds that there are: each with its words and the number of its cells."""
        counts = Counter(cell.kind for cell in self.cells)
        return [(kind, told, counts[kind]) for kind, told in KINDS.items() if counts[kind]]


# Succeeded inputs never run again, so their sum is right over all generations; of failures it would not be. Each side
# is summed up by itself: joined by batch, a wrong guess of their number made a loop of all by all.
_CELLS = """
WITH batches AS MATERIALIZED (
    SELECT first_index / %(width)s AS cell, min(first_index) AS first_index, sum(input_count) AS input_count,
           count(*) AS batch_count,
           count(*) FILTER (WHERE status = 'DONE') AS done,
           count(*) FILTER (WHERE status = 'LEASED') AS running,
           count(*) FILTER (WHERE status = 'WAITING') AS waiting,
           sum(bit_count(done)) AS ended, max(attempt) AS attempt, sum(crash_count) AS crashes
      FROM runs_batch WHERE run_id = %(run)s GROUP BY cell
), results AS MATERIALIZED (
    SELECT first_index / %(width)s AS cell, sum(succeeded_count) AS succeeded
      FROM runs_resultchunk WHERE run_id = %(run)s GROUP BY cell
)
SELECT first_index, input_count, batch_count, done, running, waiting, ended, coalesce(succeeded, 0), attempt, crashes
  FROM batches LEFT JOIN results USING (cell)
 ORDER BY cell
"""


def batch_map(run: Run) -> BatchMap:
    """Return the map of a run's batches, in one query; no cells where nothing of it is executed."""
    batches = -(-run.progress.input_count // run.batch_size)
    together = max(1, -(-batches // MOST_CELLS))
    with connection.cursor() as cursor:
        cursor.execute(_CELLS, {"run": run.pk, "width": run.batch_size * together})
        cells = [Cell(*map(int, row)) for row in cursor.fetchall()]
    return BatchMap(cells, together)
