"""Schedules with real beats and workers: every due time fires once, whatever dies around it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import redis

from tests.system import fires
from tests.system.fires import SECOND_BEAT, SECOND_FIRER, is_over, one_shots, tally
from tests.system.installation import Installation, until

TICKS_OF_AN_HOUR = 3_600
LOOK_S = 0.5


def wait_until_over(installation: Installation, due: dict[str, list]) -> None:
    def look() -> bool:
        time.sleep(LOOK_S)
        return is_over(installation, due)

    until(look, lambda: f"{tally(installation, due)}\n{installation.logs()}")


@contextmanager
def second(installation: Installation) -> Iterator[None]:
    """Two beats and two workers that fire, for a while."""
    fires.add_second(installation)
    try:
        yield
    finally:
        installation.remove(SECOND_BEAT)
        installation.remove(SECOND_FIRER)


def rows(installation: Installation, sql: str) -> list[tuple]:
    with psycopg.connect(installation.environment["DATABASE_URL"], autocommit=True) as own:
        return own.execute(sql).fetchall()


def broker(installation: Installation) -> redis.Redis:
    assert installation.servers.valkey is not None
    return redis.Redis(unix_socket_path=str(installation.servers.valkey.socket))


def test_two_beats_fire_once_and_one_of_them_is_enough(breakable: Installation) -> None:
    with second(breakable):
        due = one_shots(breakable, 20, first_s=1.0, every_s=0.05)
        wait_until_over(breakable, due)
        breakable.kill("beat")
        breakable.kill("worker-system")
        due |= one_shots(breakable, 5, first_s=0.5, every_s=0.2)
        wait_until_over(breakable, due)
        found = tally(breakable, due)
        assert (found.fires, found.doubles, found.missed) == (25, [], 0), found
    (tasks,) = rows(breakable, "SELECT count(*), count(DISTINCT name) FROM django_celery_beat_periodictask")
    (intervals,) = rows(
        breakable, "SELECT count(*), count(DISTINCT (every, period)) FROM django_celery_beat_intervalschedule"
    )
    assert (tasks[0], intervals[0]) == (tasks[1], intervals[1])


def test_an_hour_without_beat_or_workers_leaves_no_flood(breakable: Installation) -> None:
    breakable.kill("beat")
    breakable.kill("worker-system")
    with broker(breakable) as client:
        client.delete("system")
        rows(
            breakable,
            "UPDATE django_celery_beat_periodictask SET last_run_at = now() - interval '1 hour' RETURNING id",
        )
        breakable.start("beat")
        began = time.monotonic()
        until(lambda: client.llen("system") > 0, lambda: "beat sends nothing")
        # Once what is due, and from then on what falls due: 5 tasks or so, the two fastest of them every second.
        waiting, seconds = client.llen("system"), time.monotonic() - began
        assert waiting < 20 + 5 * (seconds + 5)
        until(lambda: bool(ticks(client)), lambda: "beat sends no tick")
        tick = ticks(client)[0]
        client.rpush("system", *[expired(tick) for _ in range(TICKS_OF_AN_HOUR)])
    due = one_shots(breakable, 3, first_s=0.5, every_s=0.1)
    breakable.start("worker-system")
    wait_until_over(breakable, due)
    found = tally(breakable, due)
    assert (found.fires, found.doubles) == (3, []), found
    with broker(breakable) as client:
        until(lambda: client.llen("system") < 100, lambda: f"{client.llen('system')} messages still wait")


def ticks(client: redis.Redis) -> list[bytes]:
    """Return the messages of ticks that wait: beat sends what is due in no order."""
    return [message for message in client.lrange("system", 0, -1) if b"schedules.tick" in message]


def expired(tick: bytes) -> bytes:
    """The message of a tick, as it was sent an hour ago."""
    message = json.loads(tick)
    message["headers"] |= {"expires": "2026-01-01T00:00:00+00:00", "id": str(uuid.uuid4())}
    message["properties"]["delivery_tag"] = str(uuid.uuid4())
    return json.dumps(message).encode()
