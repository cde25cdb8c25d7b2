"""Numbers that processes count together."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from telemetry import counting


class Process:
    """What one process counts, as `telemetry.counting` keeps it: tests have several in one."""

    def __init__(self) -> None:
        self.counted = CollectorRegistry(auto_describe=False)
        self.pushed: dict[counting.Key, float] = {}
        self.inputs = Counter("tested_inputs", "Some.", ["outcome"], registry=self.counted)
        self.seconds = Histogram("tested_seconds", "Some.", buckets=(0.1, 1.0, 10.0), registry=self.counted)
        self.slots = Gauge("tested_slots", "Some.", registry=self.counted)

    def take_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(counting, "counted", self.counted)
        monkeypatch.setattr(counting, "_pushed", self.pushed)


@pytest.fixture
def store() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_CLIENT_URL) as client:
        client.delete(counting.COUNTERS, counting.GAUGES)
        yield client
        client.delete(counting.COUNTERS, counting.GAUGES)


@pytest.fixture
def process(store: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Process:
    one = Process()
    one.take_over(monkeypatch)
    return one


def read() -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value for family in counting.read() for sample in family.samples
    }


def test_what_several_processes_count_is_added_up(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    process.inputs.labels("succeeded").inc(5)
    counting.push()
    counting.push()
    process.inputs.labels("succeeded").inc(2)
    counting.push()
    other = Process()
    other.take_over(monkeypatch)
    other.inputs.labels("succeeded").inc(10)
    other.inputs.labels("failed").inc()
    other.seconds.observe(0.5)
    other.seconds.observe(20)
    counting.push()
    found = read()
    assert found["tested_inputs_total", "succeeded"] == 17
    assert found["tested_inputs_total", "failed"] == 1
    buckets = [found["tested_seconds_bucket", le] for le in ("0.1", "1.0", "10.0", "+Inf")]
    assert (buckets, found["tested_seconds_count",], found["tested_seconds_sum",]) == ([0, 1, 1, 2], 2, 20.5)


def test_buckets_stand_in_order_and_together(process: Process) -> None:
    process.seconds.observe(5)
    counting.push()
    (family,) = (family for family in counting.read() if family.name == "tested_seconds")
    assert [sample.labels.get("le") for sample in family.samples if "le" in sample.labels] == [
        "0.1", "1.0", "10.0", "+Inf"
    ]  # fmt: skip


def test_what_nobody_has_counted_is_there(process: Process) -> None:
    process.inputs.labels("failed")
    assert read()["tested_inputs_total", "failed"] == 0
    assert {family.name for family in counting.read()} == {"tested_inputs", "tested_seconds", "tested_slots"}


def test_nothing_is_lost_while_redis_is_away(process: Process, settings: Any) -> None:
    process.inputs.labels("succeeded").inc(3)
    right = settings.REDIS_CLIENT_URL
    settings.REDIS_CLIENT_URL = "redis://127.0.0.1:1/0"
    counting._client.cache_clear()
    counting.push()
    with pytest.raises((redis.RedisError, OSError)):
        counting.read()
    settings.REDIS_CLIENT_URL = right
    counting._client.cache_clear()
    process.inputs.labels("succeeded").inc(4)
    counting.push()
    assert read()["tested_inputs_total", "succeeded"] == 7


def test_gauges_of_processes_that_are_gone_do_not_count(
    process: Process, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.slots.set(7)
    counting.push()
    assert read()["tested_slots",] == 0  # this one reports none
    monkeypatch.setattr(counting, "_reports_gauges", True)
    counting.push()
    assert read()["tested_slots",] == 7
    monkeypatch.setattr(counting.socket, "gethostname", lambda: "another")
    process.slots.set(2)
    counting.push()
    assert read()["tested_slots",] == 9
    later = counting.time.time() + counting.SAID_WITHIN_S + 1
    monkeypatch.setattr(counting.time, "time", lambda: later)
    counting.push()
    assert read()["tested_slots",] == 2
    monkeypatch.setattr(counting.time, "time", lambda: later + counting.FORGOTTEN_AFTER_S + 1)
    assert read()["tested_slots",] == 0
    assert store.hlen(counting.GAUGES) == 0


def _count_in_a_fork(process: Process) -> None:
    counting.start()
    process.inputs.labels("succeeded").inc(100)
    counting.stop()


def test_a_forked_process_pushes_what_it_counts_itself(process: Process) -> None:
    process.inputs.labels("succeeded").inc()
    counting.push()
    forks = [multiprocessing.get_context("fork").Process(target=_count_in_a_fork, args=[process]) for _ in range(3)]
    for fork in forks:
        fork.start()
    for fork in forks:
        fork.join(20)
        assert fork.exitcode == 0
    assert read()["tested_inputs_total", "succeeded"] == 301
