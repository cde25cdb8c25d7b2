"""The floor: what one process does for the same inputs with no queue, no lease, no validation and no timeline.

    DATABASE_URL=... .venv/bin/python -m benchmarks.floor BODY

reads the body of a launch from a file, parses it, stores the inputs as packed chunks, reads each back, calls the same
function, and stores the results as packed chunks. Nothing is recorded until the end: it loses all when it dies. It
prints the seconds of each stage, and of all of them, as JSON. It does all of it once before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from isal import isal_zlib
from pydantic_core import from_json, to_json

CHUNK = 500
TABLES = """
CREATE TABLE IF NOT EXISTS floor_input (id serial PRIMARY KEY, lines bytea);
CREATE TABLE IF NOT EXISTS floor_result (id serial PRIMARY KEY, lines bytea);
"""


def echo(value: dict[str, Any]) -> dict[str, Any]:
    """Give the input back, as the benchmarked action does."""
    return value


def main() -> None:
    """Do it and print the times."""
    body = Path(sys.argv[1]).read_bytes()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        for _ in range(2):  # the first for everything that is made once
            connection.execute("DROP TABLE IF EXISTS floor_input, floor_result")
            connection.execute(TABLES)
            seconds = run(body, connection)
        print(json.dumps(seconds))


def run(body: bytes, connection: psycopg.Connection[Any]) -> dict[str, float]:
    """Return the seconds of each stage and their `sum`."""
    seconds: dict[str, float] = {}
    parsed: dict[str, Any] = _timed(seconds, "parse", lambda: from_json(body))
    lines = _timed(seconds, "dump", lambda: [to_json(one) for one in parsed["inputs"]])
    chunks = _timed(seconds, "pack", lambda: packed(lines))
    _timed(seconds, "store", lambda: store(connection, "floor_input", chunks))
    stored = _timed(seconds, "read", lambda: connection.execute("SELECT lines FROM floor_input ORDER BY id").fetchall())
    results = _timed(seconds, "execute", lambda: [_executed(lines) for (lines,) in stored])
    _timed(seconds, "record", lambda: store(connection, "floor_result", results))
    return seconds | {"sum": sum(seconds.values())}


def _timed(seconds: dict[str, float], stage: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    made = work()
    seconds[stage] = time.perf_counter() - began
    return made


def packed(lines: list[bytes]) -> list[bytes]:
    return [isal_zlib.compress(b"\n".join(lines[first : first + CHUNK]), 1) for first in range(0, len(lines), CHUNK)]


def _executed(packed: bytes) -> bytes:
    return isal_zlib.compress(
        b"\n".join(to_json(echo(from_json(one))) for one in isal_zlib.decompress(packed).split(b"\n")), 1
    )


def store(connection: psycopg.Connection[Any], table: str, rows: list[bytes]) -> None:
    with (
        connection.transaction(),
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} (lines) FROM STDIN") as into,
    ):
        for row in rows:
            into.write_row((row,))


if __name__ == "__main__":
    main()
