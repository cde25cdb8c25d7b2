"""Runs by month, tried: 1,000,000 runs of a year in tables that are partitioned, beside the same in those that are not.

The partitions are ranges of ids: those of a run in `runs_run`, and those of its run in every table that belongs to it.
Ids are drawn in order, so a month is a range of them, and every key and foreign key stays what it is; only that no two
runs have the same `uid` nobody guarantees any more. Both are measured in turns, on the same servers. At the end the old
table becomes the first partition of a new one as it stands, which is how an installation would go over.

    .venv/bin/python -m benchmarks.partitions [runs]
"""

from __future__ import annotations

import functools
import re
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from benchmarks import run_rows
from benchmarks.own_database import own_database
from benchmarks.report import Report
from benchmarks.rounds import interleave, ratio, shown
from benchmarks.run_lists import Caller, Case, cases

RUNS = 1_000_000
MONTHS = 12
ROUNDS, CALLS, WRITTEN, DELETED = 5, 20, 1_000, 500
TABLES = {
    "runs_run": "id", "runs_runprogress": "run_id", "runs_batch": "run_id", "runs_resultchunk": "run_id",
    "runs_runtransition": "run_id",
}  # fmt: skip
REFERENCES = {
    "runs_runprogress": ("run_id", "runs_run"), "runs_batch": ("run_id", "runs_run"),
    "runs_resultchunk": ("run_id", "runs_run"), "runs_runtransition": ("run_id", "runs_run"),
}  # fmt: skip
PACKED = "decode(repeat(md5(id::text), 6), 'hex')"
SURROUNDINGS = f"""
INSERT INTO runs_inputchunk (input_set_id, first_index, input_count, invalid_count, inputs)
SELECT id, 0, 1, 0, {PACKED} FROM runs_inputset;
INSERT INTO runs_batch (id, run_id, chunk_id, first_index, input_count, status, attempt, checkpoint, worker,
    crash_count, done)
OVERRIDING SYSTEM VALUE SELECT id, id, 1, 0, 1, 'DONE', 1, 1, '', 0, '\\x01' FROM runs_run;
INSERT INTO runs_resultchunk (id, run_id, batch_id, generation, first_index, last_index, succeeded_count, failed_count,
    output_count, summary, outputs, created_at)
OVERRIDING SYSTEM VALUE SELECT id, id, id, 0, 0, 0, 1, 0, 1, {PACKED}, {PACKED}, created_at FROM runs_run;
INSERT INTO runs_runtransition (run_id, at, from_status, to_status, actor, reason)
SELECT id, created_at, NULL, to_status, 'member', '' FROM runs_run, (VALUES ('CREATED'), ('RUNNING'), ('SUCCEEDED'))
    AS moved (to_status);
"""


def main(runs: int = RUNS) -> None:
    """Measure and write."""
    with own_database():
        from django.db import connection

        cast = run_rows.make_cast()
        run_rows.grow(cast, runs, last=runs, every=timedelta(days=365) / runs, input_sets=1)
        report = Report("partitions")
        with connection.cursor() as cursor:
            cursor.execute(f"SET session_replication_role = replica; {SURROUNDINGS}")
            cursor.execute("SET session_replication_role = origin")
            cursor.execute("VACUUM (ANALYZE)")
            _move(report, cursor, runs)
            _lists(report, cursor, Caller(cast), cast)
            _writing(report, cursor, runs)
            _dropping(report, cursor, runs)
            _attaching(report, cursor)
        report.write()


def part(table: str) -> str:
    """Return the name of the partitioned table."""
    return table.replace("runs_", "parted_", 1)


def _clocked(cursor: Any, sql: str) -> float:
    began = time.perf_counter()
    cursor.execute(sql)
    return time.perf_counter() - began


# --- The move


def _move(report: Report, cursor: Any, runs: int) -> None:
    rows = []
    for table, key in TABLES.items():
        cursor.execute(f"CREATE TABLE {part(table)} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE)"
                       f" PARTITION BY RANGE ({key})")  # fmt: skip
        for month in range(MONTHS + 1):
            below = runs * (month + 1) // MONTHS + 1 if month < MONTHS else "MAXVALUE"
            cursor.execute(f"CREATE TABLE {part(table)}_{month} PARTITION OF {part(table)}"
                           f" FOR VALUES FROM ({runs * month // MONTHS + 1}) TO ({below})")  # fmt: skip
        copied = _clocked(cursor, f"INSERT INTO {part(table)} SELECT * FROM {table}")
        indexed = sum(_clocked(cursor, made) for made in _indexes(cursor, table))
        rows.append((f"`{table}`", shown(copied), shown(indexed)))
    checked = sum(
        _clocked(cursor, f"ALTER TABLE {part(table)} ADD FOREIGN KEY ({column}) REFERENCES {part(target)} (id)")
        for table, (column, target) in REFERENCES.items()
    )
    cursor.execute("VACUUM (ANALYZE)")
    report.say(f"Copying {runs:,} runs with all that belongs to them into {MONTHS} months, in seconds:")
    report.table(("", "rows", "indexes"), [*rows, ("foreign keys, checked", shown(checked), "")])


def _indexes(cursor: Any, table: str) -> list[str]:
    """Return the statements that give the partitioned table the other's indexes: unique where the key is in them."""
    cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [table])
    made = []
    for (index,) in cursor.fetchall():
        columns = index.partition("USING")[2]
        is_unique = "UNIQUE" in index and TABLES[table] in columns.split("(")[1].split(")")[0].split(", ")
        made.append(f"CREATE {'UNIQUE ' if is_unique else ''}INDEX ON {part(table)} USING{columns}")
    return made


def _both(sql: str) -> dict[str, str]:
    """Return a statement for the tables as they are, and for those that are partitioned."""
    parted = sql
    for table in TABLES:
        parted = re.sub(rf"\b{table}\b", part(table), parted)
    return {"one table": sql, "by month": parted}


def _compare(report: Report, what: dict[str, dict[str, Callable[[], float]]], unit: str) -> None:
    """Add a table: one thing a row, on one table and by month."""
    measured = interleave(
        {f"{name}, {kind}": take for name, kinds in what.items() for kind, take in kinds.items()}, rounds=ROUNDS
    )
    rows = []
    for name in what:
        one, other = measured[f"{name}, one table"], measured[f"{name}, by month"]
        rows.append((name, shown(statistics.median(one)), shown(statistics.median(other)), ratio(other, one)))
    report.table((unit, "one table", "by month", "times that"), rows)


# --- What is measured


def _lists(report: Report, cursor: Any, caller: Caller, cast: run_rows.Cast) -> None:
    from runs.models import Run

    run = Run.objects.order_by("id")[Run.objects.count() // 3]
    known = {case.name: case for case in cases(cast, None, run)}
    statements: dict[str, str] = {}
    for name in (
        "no filter",
        "status of 9 %",
        "user_uid of 5 %",
        "tag of 0.05 %",
        "status, action, mode and user, 8 %",
    ):
        total, page, *_ = caller.statements(known[name])
        statements |= {f"total, {name}": total, f"page, {name}": page}
    statements["page, no filter, sort=-finished_at"] = caller.statements(Case(""), "-finished_at")[1]
    statements["page, no filter, in the middle"] = caller.statements(known["no filter"], deep=True)[1]
    statements["one run by its uid"] = str(Run.objects.filter(uid=run.uid).query).replace(str(run.uid), f"'{run.uid}'")
    report.say(f"Reading, in milliseconds, the mean of {CALLS} calls, {ROUNDS} rounds:")

    def mean(sql: str) -> float:
        return sum(_clocked(cursor, sql) for _ in range(CALLS)) / CALLS * 1_000

    what: dict[str, dict[str, Callable[[], float]]] = {
        name: {kind: functools.partial(mean, one) for kind, one in _both(sql).items()}
        for name, sql in statements.items()
    }
    _compare(report, what, "ms")


def _writing(report: Report, cursor: Any, runs: int) -> None:
    from runs.models import Run

    new = {"id": f"{runs} + %(shift)s + n", "uid": "uuidv7()", "created_at": "clock_timestamp()", "status": "'CREATED'"}
    columns = [str(field.column) for field in Run._meta.concrete_fields]
    launch = (
        f"INSERT INTO runs_run ({', '.join(columns)}) SELECT {', '.join(new.get(one, one) for one in columns)}"
        " FROM runs_run WHERE id = n;"
        " INSERT INTO runs_runprogress (run_id, epoch, generation, input_count, invalid_count, succeeded_count,"
        " failed_count, remaining, output_count, retry_count)"
        f" VALUES ({new['id']}, 0, 0, 1, 0, 0, 0, 1, 0, 0);"
    )
    checkpoint = (
        "INSERT INTO runs_resultchunk (id, run_id, batch_id, generation, first_index, last_index, succeeded_count,"
        " failed_count, output_count, summary, outputs, created_at) OVERRIDING SYSTEM VALUE"
        f" SELECT {runs} + %(shift)s + n, run_id, batch_id, 1, 0, 0, 0, 0, 1, summary, outputs, clock_timestamp()"
        " FROM runs_resultchunk WHERE run_id = n LIMIT 1;"
        " UPDATE runs_batch SET checkpoint = checkpoint + 1 WHERE run_id = n AND first_index = 0;"
        " UPDATE runs_runprogress SET output_count = output_count + 1 WHERE run_id = n AND epoch = 0;"
    )
    shift = 0

    def written(sql: str) -> float:
        nonlocal shift
        shift += WRITTEN
        loop = sql % {"shift": shift}
        taken = _clocked(cursor, f"DO $$ BEGIN FOR n IN 1..{WRITTEN} LOOP {loop} END LOOP; END $$")
        return taken / WRITTEN * 1e6

    report.say(f"Writing, in microseconds each, {WRITTEN:,} in one transaction, {ROUNDS} rounds:")
    written_as: dict[str, dict[str, Callable[[], float]]] = {
        name: {kind: functools.partial(written, one) for kind, one in _both(sql).items()}
        for name, sql in {
            "a launch: run and progress": launch,
            "a checkpoint: results, batch, progress": checkpoint,
        }.items()
    }
    _compare(report, written_as, "µs")


def _dropping(report: Report, cursor: Any, runs: int) -> None:
    """Delete some runs of the first month as retention does, and drop that month."""
    from django.utils import timezone

    from runs import deletion
    from runs.models import Run

    old = list(Run.objects.ended_before(timezone.now()).filter(pk__lte=runs // MONTHS)[:DELETED])
    began = time.perf_counter()
    deleted = sum(deletion.delete_old(run, ended_before=timezone.now()) for run in old)
    each = (time.perf_counter() - began) / deleted
    dropped = sum(_clocked(cursor, f"DROP TABLE {part(table)}_0 CASCADE") for table in reversed(TABLES))
    month = runs // MONTHS
    report.say(
        f"A month of {month:,} runs goes in {dropped * 1_000:.0f} ms where its partitions are dropped. Retention takes"
        f" {each * 1_000:.2f} ms a run ({deleted} deleted one by one, with what belongs to them and their inputs), so"
        f" {each * month:.0f} s for the month, and leaves the space to vacuum."
    )


def _attaching(report: Report, cursor: Any) -> None:
    """Make the table as it stands the first partition of a new one."""
    cursor.execute("SELECT max(id) + 1 FROM runs_run")
    (above,) = cursor.fetchone()
    cursor.execute("CREATE TABLE whole (LIKE runs_run INCLUDING DEFAULTS INCLUDING IDENTITY) PARTITION BY RANGE (id)")
    cursor.execute("SELECT setval(pg_get_serial_sequence('whole', 'id'), %s)", [above])
    checked = _clocked(cursor, f"ALTER TABLE runs_run ADD CONSTRAINT first_part CHECK (id < {above}) NOT VALID")
    validated = _clocked(cursor, "ALTER TABLE runs_run VALIDATE CONSTRAINT first_part")
    # Who draws the ids is the whole from here on: PostgreSQL 17 and later take no partition that draws its own.
    handed_over = _clocked(cursor, "ALTER TABLE runs_run ALTER id DROP IDENTITY")
    handed_over += _clocked(
        cursor, f"ALTER TABLE whole ATTACH PARTITION runs_run FOR VALUES FROM (MINVALUE) TO ({above})"
    )
    report.say(
        f"`runs_run` as it stands becomes the first partition in {(checked + handed_over) * 1_000:.0f} ms under a lock,"
        f" after {validated:.1f} s in which a constraint is checked beside its writers. Nothing is copied."
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
