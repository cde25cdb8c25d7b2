"""What a large launch does at the least, in one process: parse the body, check each input, store all in chunks.

    DATABASE_URL=... .venv/bin/python -m benchmarks.launch_alone BODY

prints the seconds it took.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psycopg
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from benchmarks.floor import TABLES, packed, store
from benchmarks.sample_actions import Echo


def main() -> None:
    """Do it and print the seconds."""
    body = Path(sys.argv[1]).read_bytes()
    check = TypeAdapter(Echo).validator.validate_json
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS floor_input, floor_result")
        connection.execute(TABLES)
        began = time.perf_counter()
        lines = [to_json(one) for one in from_json(body)["inputs"]]
        for line in lines:
            check(line)
        store(connection, "floor_input", packed(lines))
        print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
