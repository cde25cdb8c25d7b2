"""arq: an async job; run as a program this starts two workers."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Sequence
from typing import Any

from arq import create_pool, run_worker
from arq.connections import RedisSettings

SETTINGS = RedisSettings(unix_socket_path=os.environ["PEER_REDIS"], database=6)


async def echo(_context: dict[Any, Any], input: dict[str, Any]) -> dict[str, Any]:
    """Give the input back."""
    return input


class WorkerSettings:
    functions = (echo,)
    redis_settings = SETTINGS
    poll_delay = 0.05


async def submit(inputs: Sequence[dict[str, Any]]) -> list[Any]:
    """Queue a job for each input, a hundred at a time, and return all results."""
    pool = await create_pool(SETTINGS)
    jobs = []
    for first in range(0, len(inputs), 100):
        asked = (pool.enqueue_job("echo", one) for one in inputs[first : first + 100])
        jobs += await asyncio.gather(*asked)
    results = []
    for job in jobs:
        results.append(await job.result(timeout=120, poll_delay=0.01))
    await pool.aclose()
    return results


if __name__ == "__main__":
    second = multiprocessing.Process(target=run_worker, args=(WorkerSettings,), daemon=True)
    second.start()
    run_worker(WorkerSettings)
