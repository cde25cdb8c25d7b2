"""One task that gives its input back, in each peer's own terms. PEER_REDIS and PEER_POSTGRES name the servers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

REDIS = os.environ["PEER_REDIS"]  # the path of a Unix socket
POSTGRES = os.environ["PEER_POSTGRES"]
Inputs = Sequence[dict[str, Any]]
POLL_S = 0.01
GIVE_UP_S = 120.0


class Peer:
    """A queue: the command of its worker, and what submits inputs and returns once all results were read."""

    worker: Sequence[str]

    def run(self, inputs: Inputs) -> list[Any]:
        raise NotImplementedError


class CeleryTasks(Peer):
    """Celery, a task for each input, the result of each stored in Redis."""

    worker = (
        "celery",
        "-A",
        "benchmarks.peers.celery_app",
        "worker",
        "-c",
        "2",
        "--without-gossip",
        "--without-mingle",
    )

    def __init__(self) -> None:
        from benchmarks.peers import celery_app

        self.module = celery_app

    def run(self, inputs: Inputs) -> list[Any]:
        from celery import group

        return list(group(self.module.echo.s(one) for one in inputs).apply_async().join(interval=POLL_S))


class CeleryChunks(CeleryTasks):
    """Celery's own chunks, 500 inputs in a task: what a careful user of it would do."""

    def run(self, inputs: Inputs) -> list[Any]:
        asked = self.module.echo.chunks(zip(inputs), 500).apply_async()
        return [one for chunk in asked.join(interval=POLL_S) for one in chunk]


class CeleryDatabase(CeleryTasks):
    """Celery, a task for each input, the result of each a row of django-celery-results."""

    worker = (*CeleryTasks.worker[:2], "benchmarks.peers.celery_database", *CeleryTasks.worker[3:])

    def __init__(self) -> None:
        from benchmarks.peers import celery_database

        self.module = celery_database

    def run(self, inputs: Inputs) -> list[Any]:
        from django_celery_results.models import TaskResult

        ids = [self.module.echo.delay(one).id for one in inputs]
        rows = TaskResult.objects.filter(task_id__in=ids, status="SUCCESS")
        _wait(lambda: rows.count() == len(ids))
        return list(rows.values_list("result", flat=True))


class Dramatiq(Peer):
    """Dramatiq with its Redis broker and results, two processes of eight threads."""

    worker = ("dramatiq", "benchmarks.peers.dramatiq_app", "--processes", "2", "--threads", "8")

    def run(self, inputs: Inputs) -> list[Any]:
        import dramatiq

        from benchmarks.peers import dramatiq_app

        asked = dramatiq.group(dramatiq_app.echo.message(one) for one in inputs).run()
        return list(asked.get_results(block=True, timeout=int(GIVE_UP_S * 1000)))


class Huey(Peer):
    """Huey on Redis, two processes."""

    worker = ("huey_consumer", "benchmarks.peers.huey_app.huey", "-w", "2", "-k", "process", "-q")

    def run(self, inputs: Inputs) -> list[Any]:
        from benchmarks.peers import huey_app

        asked = [huey_app.echo(one) for one in inputs]
        return [one.get(blocking=True, backoff=1, max_delay=POLL_S, timeout=GIVE_UP_S) for one in asked]


class Rq(Peer):
    """RQ, two workers of its pool, without a fork for each job (its SimpleWorker), jobs queued in one pipeline."""

    worker = (
        "rq",
        "worker-pool",
        "-n",
        "2",
        "-q",
        "-w",
        "rq.worker.SimpleWorker",
        "-u",
        f"unix://{REDIS}?db=5",
        "peer",
    )

    def run(self, inputs: Inputs) -> list[Any]:
        from redis import Redis
        from rq import Queue
        from rq.job import Job

        from benchmarks.peers import rq_app

        connection = Redis(unix_socket_path=REDIS, db=5)
        queue = Queue("peer", connection=connection)
        jobs = queue.enqueue_many([Queue.prepare_data(rq_app.echo, (one,), result_ttl=600) for one in inputs])
        ids = [job.id for job in jobs]
        _wait(lambda: queue.count == 0)
        _wait(lambda: all(job and job.is_finished for job in Job.fetch_many(ids[-50:], connection=connection)))
        return [job.return_value() for job in Job.fetch_many(ids, connection=connection) if job]


class Arq(Peer):
    """arq, two processes of an event loop with 10 jobs at once."""

    worker = ("python", "-m", "benchmarks.peers.arq_app")

    def run(self, inputs: Inputs) -> list[Any]:
        from benchmarks.peers import arq_app

        return asyncio.run(arq_app.submit(inputs))


class Procrastinate(Peer):
    """Procrastinate on PostgreSQL, two workers of 10 jobs at once; it keeps no results, so the task stores its own."""

    worker = ("python", "-m", "benchmarks.peers.procrastinate_app")

    def run(self, inputs: Inputs) -> list[Any]:
        from benchmarks.peers import procrastinate_app

        return procrastinate_app.submit(inputs)


def _wait(is_done: Any) -> None:
    give_up_at = time.monotonic() + GIVE_UP_S
    while not is_done():
        if time.monotonic() > give_up_at:
            raise SystemExit("the peer did not end")
        time.sleep(POLL_S)


PEERS: dict[str, type[Peer]] = {
    "Celery, a task each, results in Redis": CeleryTasks,
    "Celery, a task each, django-celery-results": CeleryDatabase,
    "Celery chunks of 500": CeleryChunks,
    "Dramatiq": Dramatiq,
    "Huey": Huey,
    "Procrastinate": Procrastinate,
    "RQ": Rq,
    "arq": Arq,
}
