"""Numbers that all processes count together: each in its own memory, and every two seconds into Redis.

A metric is one of prometheus_client's, registered in `counted` where its room counts. Nothing but this process's memory
is touched where something is counted. `push` adds what is new to a hash in Redis, which `read` returns for all
processes on all machines. A process that is killed takes at most the last two seconds with it. While Redis is away
what is counted waits here. A Redis that has lost the hash starts at 0 again, which Prometheus takes for a restart.

Gauges are said, not added: each process that reports any says them with every push, and `read` sums up what was said
lately.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import redis
import structlog
from django.conf import settings
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

log = structlog.get_logger(__name__)

PUSH_S = 2.0
GIVE_UP_S = 1.0
COUNTERS, GAUGES = "runyard:counters", "runyard:gauges"
SAID_WITHIN_S = 15.0
FORGOTTEN_AFTER_S = 600.0

# When this process first counted says nothing about all of them.
disable_created_metrics()  # type: ignore[no-untyped-call]
counted = CollectorRegistry(auto_describe=False)
"""All metrics that are counted here and shared."""

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""

_pushing = threading.Lock()
_pushed: dict[Key, float] = {}
_end = threading.Event()
_thread: threading.Thread | None = None
_reports_gauges = False


def start(*, reports_gauges: bool = False) -> None:
    """Push from now on, in a thread of this process. `reports_gauges`: this is a process whose gauges mean something.

    After the fork: a process has none of its parent's threads.
    """
    global _thread, _reports_gauges
    _reports_gauges = reports_gauges
    if _thread is None or not _thread.is_alive():
        _end.clear()
        _thread = threading.Thread(target=_push_on, name="telemetry", daemon=True)
        _thread.start()


def stop() -> None:
    """Push what is left, and no more from now on; gives up in about a second."""
    _end.set()
    push()


def _push_on() -> None:
    while not _end.wait(PUSH_S):
        push()


def push() -> None:
    """Add to Redis what this process has counted since the last push. Where Redis is away it waits for the next."""
    with _pushing:
        try:
            _push()
        except Exception as error:  # nobody's work may suffer from being counted
            log.debug("metrics_not_pushed", error=f"{type(error).__name__}: {error}")


def _push() -> None:
    now = time.time()
    samples = {_key(sample): sample.value for sample in _samples("counter", "histogram")}
    changes = {key: value - _pushed.get(key, 0.0) for key, value in samples.items() if value != _pushed.get(key, 0.0)}
    gauges = {_gauge_field(sample): json.dumps([now, sample.value]) for sample in _gauges()}
    if not changes and not gauges:
        return
    with _client().pipeline(transaction=True) as pipeline:
        for key, change in changes.items():
            pipeline.hincrbyfloat(COUNTERS, json.dumps(key), change)
        if gauges:
            pipeline.hset(GAUGES, mapping=gauges)
        pipeline.execute()
    _pushed.update(samples)


def _samples(*types: str) -> Iterator[Sample]:
    for family in counted.collect():
        if family.type in types:
            yield from family.samples


def _gauges() -> Iterable[Sample]:
    return _samples("gauge") if _reports_gauges else ()


def _key(sample: Sample) -> Key:
    return sample.name, tuple(sorted(sample.labels.items()))


def _gauge_field(sample: Sample) -> str:
    return json.dumps([_key(sample), f"{socket.gethostname()}:{os.getpid()}"])


# --- Reading


def read() -> list[Metric]:
    """Return all families of `counted`, with what all processes have counted.

    Raises:
        redis.RedisError, OSError: Redis is away.
    """
    client = _client()
    with client.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(COUNTERS)
        pipeline.hgetall(GAUGES)
        counters, gauges = pipeline.execute()
    values = {_read_key(json.loads(field)): float(value) for field, value in counters.items()}
    values |= _read_gauges(gauges)
    return _families(values)


def _read_key(stored: Any) -> Key:
    name, labels = stored
    return name, tuple((label, value) for label, value in labels)


def _read_gauges(stored: Mapping[str, str]) -> dict[Key, float]:
    now, old = time.time(), []
    totals: dict[Key, float] = defaultdict(float)
    for field, said in stored.items():
        at, value = json.loads(said)
        if at >= now - SAID_WITHIN_S:
            totals[_read_key(json.loads(field)[0])] += value
        elif at < now - FORGOTTEN_AFTER_S:
            old.append(field)
    if old:
        _client().hdel(GAUGES, *old)
    return totals


_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def _families(values: Mapping[Key, float]) -> list[Metric]:
    """Return each family with its samples of `values`, and at 0 those that nobody has counted yet."""
    found: dict[str, dict[Key, float]] = defaultdict(dict)
    for key, value in values.items():
        found[key[0]][key] = value
    families = []
    for declared in counted.collect():
        own = {_key(sample): 0.0 for sample in declared.samples}
        for suffix in _SUFFIXES[declared.type]:
            own |= found.get(declared.name + suffix, {})
        family = Metric(declared.name, declared.documentation, declared.type)
        for name, labels in sorted(own, key=_place):
            family.add_sample(name, dict(labels), own[name, labels])
        families.append(family)
    return families


def _place(key: Key) -> tuple[Any, ...]:
    """Return where a sample stands in its family: those of a histogram together, its buckets in order."""
    name, labels = key
    bound = float(dict(labels).get("le", "inf"))
    return [pair for pair in labels if pair[0] != "le"], name, bound


@functools.cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_CLIENT_URL,
        socket_timeout=GIVE_UP_S,
        socket_connect_timeout=GIVE_UP_S,
        retry=None,
        decode_responses=True,
    )
