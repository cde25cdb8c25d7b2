"""`python -m config.alive`: exit status 0 while what runs under this host name is alive. For containers' health checks.

A web process is asked on its port. Where nothing listens there, a worker or beat has to have given a sign of life
within SILENT_S; but while a store is away, which is what silences them, nobody is judged.

It runs every half minute beside each process, so it loads neither Django nor the settings.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys

import psycopg
import redis

SILENT_S = 60
ANSWER_WITHIN_S = 3

SEEN = """
    SELECT count(*) > 0 FROM config_processheartbeat
    WHERE split_part(name, '@', 2) = %s AND seen_at > now() - make_interval(secs => %s)
"""


def main() -> int:
    """Return the exit status."""
    answer = web_answers("127.0.0.1", int(os.environ.get("PORT") or 8000))
    if answer is not None:
        return 0 if answer else 1
    seen = is_seen(os.environ["DATABASE_URL"], socket.gethostname())
    if seen is False and broker_answers(os.environ["REDIS_URL"]):
        print(f"No sign of life from {socket.gethostname()} for {SILENT_S} s", file=sys.stderr)
        return 1
    return 0


def web_answers(host: str, port: int) -> bool | None:
    """Say whether `/healthz` answers 200; None where nothing listens."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_seen(url: str, host: str) -> bool | None:
    """Say whether a process of this host gave a sign of life; None while the database cannot say so."""
    try:
        with psycopg.connect(url, connect_timeout=ANSWER_WITHIN_S) as connection:
            row = connection.execute(SEEN, [host, SILENT_S]).fetchone()
    except psycopg.Error:
        return None
    return bool(row and row[0])


def broker_answers(url: str) -> bool:
    """Say whether the broker takes a ping."""
    try:
        with redis.Redis.from_url(
            url.replace("redis+socket://", "unix://", 1),
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
        ) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
