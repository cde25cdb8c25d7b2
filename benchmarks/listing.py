"""`GET /v1/runs` at 10,000, 1,000,000 and 5,000,000 runs: every filter, every sort, the first page and a middle one.

One database that grows. Each figure is the best of some calls of the view in this process; what does not end within
20 seconds is said so. At the end, at the largest size: each filter and each pair of filters in each order, why those
over 50 ms take so long, and what the indexes cost whoever writes a run.

    .venv/bin/python -m benchmarks.listing [runs]
"""

from __future__ import annotations

import collections
import functools
import math
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

from benchmarks import run_rows
from benchmarks.own_database import own_database
from benchmarks.report import Report
from benchmarks.rounds import interleave, ratio, shown
from benchmarks.run_lists import LONGEST_S, SORTS, Caller, Case, Times, cases, pairs

RUNS = 5_000_000
SLOW_MS = 50
WRITTEN, ROUNDS = 2_000, 5


def main(runs: int = RUNS) -> None:
    """Measure and write."""
    sizes = (runs // 500, runs // 5, runs)
    first: dict[str, list[Times]] = collections.defaultdict(list)
    middle: dict[str, list[Times]] = collections.defaultdict(list)
    with own_database():
        cast = run_rows.make_cast()
        report = Report("listing")
        for size in sizes:
            began = time.monotonic()
            run_rows.grow(cast, size, last=runs)
            print(f"{size:,} runs after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            caller = Caller(cast)
            asked = [(case, "") for case in cases(cast, *_of_all(cast))]
            asked += [(Case(f"sort={sort}"), sort) for sort in SORTS]
            for case, sort in asked:
                first[case.name].append(caller.times(case, sort))
                middle[case.name].append(caller.times(case, sort, deep=True))
        report.say(
            "Server time of `GET /v1/runs` in milliseconds, in a workspace with 96 % of all runs: the first page of 10,"
            " and a page by cursor from the middle, each the best of 9 calls. *total* is what `X-Pagination-Total`"
            f" takes of it, *page* the statement that reads the page, both at {runs:,} runs."
        )
        report.table(("", *_heads(sizes)), [_row(name, first[name], middle[name]) for name in first])
        for seldom in (False, True):
            _combinations(report, caller, list(pairs(cast, *_of_all(cast), seldom=seldom)), seldom=seldom)
        _writing(report)
        report.write()


def _of_all(cast: run_rows.Cast) -> tuple[Any, Any]:
    """Return the uid of a schedule, and an old run of the large workspace."""
    from runs.models import Run

    runs = Run.objects.of(cast.members["Large"].workspace)
    scheduled = runs.filter(schedule_uid__isnull=False).order_by("-id").values_list("schedule_uid", flat=True)
    return scheduled[0], runs.order_by("id")[100]


def _heads(sizes: Iterable[int]) -> list[str]:
    return [*(f"{size:,}" for size in sizes), "times the first", "total", "page", "from the middle", "times the first"]


def _row(name: str, first: list[Times], middle: list[Times]) -> list[str]:
    grown, last = first[-1], middle[-1]
    return [
        name, *(_ms(one.view) for one in first), shown(grown.view / first[0].view), _ms(grown.total), _ms(grown.page),
        _ms(last.view), shown(last.view / middle[0].view),
    ]  # fmt: skip


def _ms(value: float) -> str:
    return f"over {LONGEST_S},000" if math.isinf(value) else shown(value)


# --- Each pair of filters in each order


def _combinations(report: Report, caller: Caller, found: list[Case], *, seldom: bool) -> None:
    rows, slow = [], dict[tuple[str, str], list[tuple[float, str]]]()
    for case in found:
        times = [caller.times(case, sort, repeats=2) for sort in SORTS]
        rows.append([case.name, *(_ms(one.view) for one in times)])
        for sort, taken in zip(SORTS, times, strict=True):
            if taken.view > SLOW_MS:
                why = _reason(caller, case, sort, taken)
                slow.setdefault(why, []).append((taken.view, f"{case.name}, `{sort}`"))
    kind = "few" if seldom else "many"
    report.say(f"Pairs of filters, each with a value that {kind} runs have, in every order, first page, milliseconds:")
    report.table(("filters", *(f"`{sort}`" for sort in SORTS)), rows)
    if slow:
        report.say(f"Those over {SLOW_MS} ms, by the statement that takes the time and what it does:")
        told = [
            (why, mend, max(taken)[1], len(taken), _ms(max(taken)[0])) for (why, mend), taken in sorted(slow.items())
        ]
        report.table(("why", "what would mend it", "the slowest", "how many", "slowest"), told)


def _reason(caller: Caller, case: Case, sort: str, taken: Times) -> tuple[str, str]:
    """Return what takes the time of a list, and what would mend it."""
    from django.db import OperationalError, connection

    statements = caller.statements(case, sort)
    if math.isinf(taken.view) or len(statements) < 2:
        return f"does not end within {LONGEST_S} s", "an index of these filters in this order"
    is_total = taken.total > taken.page
    with connection.cursor() as cursor:
        try:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statements[0 if is_total else 1])
        except OperationalError:
            return f"does not end within {LONGEST_S} s", "an index of these filters in this order"
        plan = cursor.fetchone()[0][0]["Plan"]
    scan = _largest_scan(plan)
    index = scan.get("Index Name") or next(
        (one["Index Name"] for one in _nodes(scan) if "Index Name" in one), "the table"
    )
    if is_total:
        mend = "a table of tags with workspace and time" if "tag" in case.filters else "an index with both columns"
        return f"total: rows of `{index}` are looked at until 10,001 pass the filters", mend
    if any(node["Node Type"].endswith("Sort") for node in _nodes(plan)):
        return f"page: all rows of `{index}` that pass are sorted", "an index of this filter in this order"
    return (
        f"page: `{index}` is read in order until a page has passed the filters",
        "an index of this filter in this order",
    )


def _nodes(plan: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield plan
    for one in plan.get("Plans", ()):
        yield from _nodes(one)


def _largest_scan(plan: dict[str, Any]) -> dict[str, Any]:
    """Return the scan of the runs that looked at most rows."""
    scans = [node for node in _nodes(plan) if node.get("Relation Name") == "runs_run"]
    return max(scans, key=lambda node: node["Actual Total Time"] * node["Actual Loops"], default=plan)


# --- What they cost


def _writing(report: Report) -> None:
    """Insert runs and move them through their life, beside the same without these indexes."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("CREATE TABLE bare (LIKE runs_run INCLUDING DEFAULTS INCLUDING STORAGE, PRIMARY KEY (id))")
        cursor.execute("INSERT INTO bare SELECT * FROM runs_run; ANALYZE bare; CHECKPOINT")
        cursor.execute("SET session_replication_role = replica")
        measured = interleave(
            {
                f"{what}, {name}": functools.partial(_written, cursor, table, what)
                for what in ("insert", "update")
                for name, table in (("with all indexes", "runs_run"), ("with the primary key alone", "bare"))
            },
            rounds=ROUNDS,
        )
        report.say(
            f"What the indexes cost, in microseconds for each of {WRITTEN:,} rows in one transaction: an insert,"
            f" and the three updates of a run that is queued, begins and ends. {ROUNDS} rounds."
        )
        names = list(measured)
        rows = [
            (one, shown(statistics.median(measured[one])), shown(statistics.median(measured[other])),
             ratio(measured[one], measured[other]), shown(_bytes(cursor, table)))
            for one, other, table in ((names[0], names[1], "runs_run"), (names[2], names[3], "runs_run"))
        ]  # fmt: skip
        report.table(("", "µs", "with the primary key alone, µs", "times that", "bytes of index per run"), rows)


def _written(cursor: Any, table: str, what: str) -> float:
    """Return the microseconds that it takes to write one row, in the database, statement by statement."""
    cursor.execute(f"SELECT max(id) FROM {table}")
    last = cursor.fetchone()[0]
    statements = {
        "insert": _insert(table, last),
        "update": "".join(
            f"UPDATE {table} SET {columns}, updated_at = clock_timestamp() WHERE id = {last} - n;"
            for columns in (
                "status = 'QUEUED', started_at = NULL, finished_at = NULL",
                "status = 'RUNNING', started_at = clock_timestamp()",
                "status = 'SUCCEEDED', finished_at = clock_timestamp()",
            )
        ),
    }
    began = time.perf_counter()
    cursor.execute(f"DO $$ BEGIN FOR n IN 1..{WRITTEN} LOOP {statements[what]} END LOOP; END $$")
    return (time.perf_counter() - began) / WRITTEN * 1e6


def _insert(table: str, last: int) -> str:
    from runs.models import Run

    new = {"id": f"{last} + n", "uid": "uuidv7()", "created_at": "clock_timestamp()", "status": "'CREATED'"}
    columns = [str(field.column) for field in Run._meta.concrete_fields]
    values = ", ".join(new.get(column, column) for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE id = {last} - n;"


def _bytes(cursor: Any, table: str) -> float:
    cursor.execute(f"SELECT pg_indexes_size('{table}')::float / count(*) FROM {table}")
    return float(cursor.fetchone()[0])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
