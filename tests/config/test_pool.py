"""The pool that Celery's workers are made of: ours, with what it was made for."""

from __future__ import annotations

from celery import current_app
from celery.concurrency import get_implementation
from celery.concurrency.asynpool import AsynPool

from config.pool import Pool, TaskPool


def test_workers_look_for_dead_processes_in_less_than_a_second() -> None:
    assert get_implementation(current_app.conf.worker_pool) is TaskPool
    assert TaskPool.Pool is Pool
    pool = Pool.__new__(Pool)
    looks = AsynPool.timers.fget(pool)
    assert looks == {pool.maintain_pool: 5.0}, "Celery has changed what it does, and when"
    assert pool.timers == {pool.maintain_pool: 0.5}
