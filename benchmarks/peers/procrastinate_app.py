"""Procrastinate on PostgreSQL; run as a program this starts two workers."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector
from psycopg_pool import AsyncConnectionPool

URL = os.environ["PEER_POSTGRES"]
app = App(connector=PsycopgConnector(conninfo=URL))
_pool: AsyncConnectionPool | None = None


@app.task(name="echo", queue="peer", pass_context=False)
async def echo(number: int, input: dict[str, Any]) -> None:
    """Store the input as the result."""
    global _pool
    if _pool is None:
        _pool = AsyncConnectionPool(URL, min_size=1, max_size=4, open=False, kwargs={"autocommit": True})
        await _pool.open()
    async with _pool.connection() as connection:
        await connection.execute("INSERT INTO peer_result VALUES (%s, %s)", (number, json.dumps(input)))


def submit(inputs: Sequence[dict[str, Any]]) -> list[Any]:
    """Queue a job for each input in batches, and return all results."""
    with psycopg.connect(URL, autocommit=True) as connection:
        while not _is_there(connection):  # its worker makes the tables
            time.sleep(0.1)
        connection.execute("TRUNCATE peer_result")
        asyncio.run(_defer(inputs))
        give_up_at = time.monotonic() + 120
        while _count(connection) < len(inputs):
            if time.monotonic() > give_up_at:
                raise SystemExit("the peer did not end")
            time.sleep(0.01)
        return [row[0] for row in connection.execute("SELECT result FROM peer_result").fetchall()]


async def _defer(inputs: Sequence[dict[str, Any]]) -> None:
    async with app.open_async():
        for first in range(0, len(inputs), 500):
            numbered = enumerate(inputs[first : first + 500], first)
            await echo.batch_defer_async(*({"number": number, "input": one} for number, one in numbered))


def _count(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM peer_result").fetchone()
    return int(row[0]) if row else 0


def make_tables() -> None:
    """Make what the workers need, where it is not there."""
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS peer_result (number int, result json)")
        is_there = _is_there(connection)
    if not is_there:
        asyncio.run(_make_schema())


def _is_there(connection: psycopg.Connection[Any]) -> bool:
    found = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
    return bool(found and found[0])


async def _make_schema() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


def work() -> None:
    """Run a worker until it is told to end."""
    asyncio.run(_work())


async def _work() -> None:
    async with app.open_async():
        await app.run_worker_async(queues=["peer"], concurrency=10)


if __name__ == "__main__":
    make_tables()
    second = multiprocessing.Process(target=work, daemon=True)
    second.start()
    work()
