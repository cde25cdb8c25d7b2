"""Time and bytes for each input as runs grow, with one, two and four worker processes; and what a million inputs take.

Two cores show two processes; what four do there says what waiting for the database costs, no more.
"""

from __future__ import annotations

import statistics

import psycopg

from benchmarks.environment import Running, installation
from benchmarks.report import Report
from benchmarks.rounds import shown
from benchmarks.throughput import body_of, rate

SIZES = (1_000, 10_000, 100_000)
WORKERS = (1, 2, 4)
ROUNDS = 3


def main() -> None:
    """Measure, print, and write the table."""
    report = Report("growth")
    rows, stored = [], {}
    for workers in WORKERS:
        with installation(RUNYARD_RUNS_CONCURRENCY=str(workers)) as running:
            rate(running, body_of(2_000), 2_000)  # everything that is made once
            for size in SIZES:
                before = _size(running)
                rates = [rate(running, body_of(size), size) for _ in range(ROUNDS)]
                stored[size] = (_size(running) - before) / (size * ROUNDS)
                each = [1e6 / one for one in rates]
                rows.append((f"{workers}", f"{size:,}", shown(statistics.median(each)), shown(max(rates))))
    report.say("From the POST to all results readable, default batches, microseconds for each input:")
    report.table(("worker processes", "inputs in the run", "us each, median", "inputs/s at best"), rows)
    told = ", ".join(f"{size:,}: {shown(each)}" for size, each in stored.items())
    report.say(
        "Bytes of database for each input of 200 bytes with a result as long, indexes and all, by the inputs in the"
        f" run: {told}. A million inputs in large runs take {stored[max(SIZES)] / 1000:.2f} GB."
    )
    report.write()


def _size(running: Running) -> int:
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        return int(found[0]) if found else 0


if __name__ == "__main__":
    main()
