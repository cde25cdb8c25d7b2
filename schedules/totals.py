"""What became of all due times since the beginning, and how late: counted with each line, shown by `/metrics`.

Lines are deleted when they are old; counters must not go back. A row for each kind, written by the transactions that
write lines, as their last statement: it is the one row that all of them share.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from schedules.models import Fire, FireKind, FireTotal

BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0)
"""Of the buckets in which lateness is counted: each holds what is at most that late, and more than the one before."""

_ADD = """
INSERT INTO schedules_firetotal AS total (kind, count, late_s, late_counts)
SELECT kind, count, late_s, string_to_array(late_counts, ' ')::bigint[]
  FROM unnest(%(kinds)s::text[], %(counts)s::bigint[], %(late_s)s::float8[], %(late_counts)s::text[])
       AS added (kind, count, late_s, late_counts)
ON CONFLICT (kind) DO UPDATE SET
    count = total.count + EXCLUDED.count,
    late_s = total.late_s + EXCLUDED.late_s,
    late_counts = ARRAY(
        SELECT COALESCE(before, 0) + COALESCE(added, 0)
          FROM unnest(total.late_counts, EXCLUDED.late_counts) WITH ORDINALITY AS both_counts (before, added, place)
         ORDER BY place)
"""


@dataclass(slots=True)
class Total:
    """Of one kind: how many, the sum of how late each was, and how many by BOUNDS_S and above."""

    count: int = 0
    late_s: float = 0.0
    late_counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))


def add(fires: Sequence[Fire]) -> None:
    """Count lines that the caller's transaction has written. Of a line's due times one is its run's, if it has one."""
    totals: dict[str, Total] = {}
    for fire in fires:
        has_run = fire.kind in (FireKind.FIRED, FireKind.TRIGGERED)
        _count(totals.setdefault(fire.kind, Total()), fire, 1 if has_run else fire.count)
        if has_run and fire.count > 1:
            totals.setdefault(FireKind.MISSED, Total()).count += fire.count - 1
    if not totals:
        return
    kinds = sorted(totals)
    names: dict[str, Any] = {
        "kinds": kinds,
        "counts": [totals[kind].count for kind in kinds],
        "late_s": [totals[kind].late_s for kind in kinds],
        "late_counts": [" ".join(map(str, totals[kind].late_counts)) for kind in kinds],
    }
    with connection.cursor() as cursor:
        cursor.execute(_ADD, names)


def _count(total: Total, fire: Fire, count: int) -> None:
    total.count += count
    if fire.kind == FireKind.FIRED and fire.due_at is not None:
        late_s = max((fire.at - fire.due_at).total_seconds(), 0.0)
        total.late_s += late_s
        total.late_counts[bisect_left(BOUNDS_S, late_s)] += 1


def read() -> dict[str, Total]:
    """Return the totals by kind, those of kinds that there have not been yet as well."""
    found = {row.kind: row for row in FireTotal.objects.all()}
    return {kind: _total(found.get(kind)) for kind in FireKind.values}


def _total(row: FireTotal | None) -> Total:
    if row is None:
        return Total()
    width = len(BOUNDS_S) + 1
    return Total(row.count, row.late_s, [*row.late_counts, *[0] * width][:width])
