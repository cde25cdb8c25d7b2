"""The connection to PostgreSQL, and how long anybody waits on it."""

from __future__ import annotations

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from config.environment import at_least

CONNECT_TIMEOUT_S = 3
# A client that is lost in the middle of a transaction (its machine off, the network parted, the process stopped) keeps
# its locks until the server ends the session. Only time in which a transaction does nothing counts: not a migration's
# statements, not a COPY. No transaction of ours waits for anything but the database.
IDLE_IN_TRANSACTION_S = 10
# For every statement and not just the sweep's: a launch or a claim must not hold its thread for ever, and DDL that
# waits for its lock makes all who come later wait as well. The error is an OperationalError: a caller has a 503, and a
# slice or sweep fails and its work is found again. Longer than the above, so that who waits behind a lost client
# succeeds once that is gone.
LOCK_S = 15
# Over TCP, on either side: a peer that is gone is noticed within about 25 s, also where the above does not look (a
# client that is lost during its COPY, a server that is lost during a query). Unix sockets need none and ignore them.
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 10, 5, 3
UNACKNOWLEDGED_MS = 25_000

# Statements of every request or batch (`statements`) are prepared once they have run so often on a connection.
# A plan that was made when tables were small is kept until these are analysed, or a worker's connection is as old as
# this.
PREPARE_AFTER = 5
WORKER_CONNECTION_S = 60

# A prepared statement is planned once, and not for each call where PostgreSQL takes that to be worth it: to plan a
# claim takes three times as long as to claim. What it limits, or compares with for an index, is part of the statement.
PLAN_CACHE_MODE = "force_generic_plan"

SERVER_SETTINGS = {
    "plan_cache_mode": PLAN_CACHE_MODE,
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_S * 1000,
    "lock_timeout": LOCK_S * 1000,
    "tcp_keepalives_idle": KEEPALIVE_IDLE_S,
    "tcp_keepalives_interval": KEEPALIVE_INTERVAL_S,
    "tcp_keepalives_count": KEEPALIVE_COUNT,
}
CLIENT_OPTIONS = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": KEEPALIVE_IDLE_S,
    "keepalives_interval": KEEPALIVE_INTERVAL_S,
    "keepalives_count": KEEPALIVE_COUNT,
    "tcp_user_timeout": UNACKNOWLEDGED_MS,
    "prepare_threshold": PREPARE_AFTER,
}


# Of the pool in a web process. Who finds no connection free for so long is answered 503, as is everybody while the
# database is away; then each request tries anew, rather than wait for the pool's next try. A launch is answered within
# 3 s, also one that waits for a connection here and then a second for a silent broker.
POOL_WAIT_S = 1.5
POOL_TRIES_S = 1.0
IDLE_IN_POOL_S = 300.0

is_shared_by_threads = False
"""Set by `config.wsgi`, before the settings are read."""


def configure(url: str) -> dict[str, Any]:
    """Return Django's settings for the server that DATABASE_URL names. What the URL itself says has precedence.

    A process whose threads share connections takes one from a pool for each request.

    Raises ImproperlyConfigured for a URL that cannot be read or is of another engine.
    """
    # The messages leave the URL out: it has a password in it. So would environ's warning about an unknown scheme.
    if environ.Env.DB_SCHEMES.get(url.partition(":")[0]) != "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            "DATABASE_URL must name a PostgreSQL server (postgresql://...): there is no other engine"
        )
    try:
        found: dict[str, Any] = environ.Env.db_url_config(url)
    except ValueError:
        raise ImproperlyConfigured(
            "DATABASE_URL must be like postgresql://user:password@host:5432/name; write special characters as %XX"
        ) from None
    own = found.get("OPTIONS", {})
    # The server takes the last of two values for one setting.
    settings = " ".join([*(f"-c {name}={value}" for name, value in SERVER_SETTINGS.items()), own.get("options", "")])
    found["OPTIONS"] = {**CLIENT_OPTIONS, **own, "options": settings.strip()}
    found["ENGINE"] = "config.postgresql"
    if not is_shared_by_threads:
        return {**found, "CONN_MAX_AGE": WORKER_CONNECTION_S, "CONN_HEALTH_CHECKS": True}
    found["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": at_least("RUNYARD_WEB_DATABASE_CONNECTIONS", 30),
        "timeout": POOL_WAIT_S,
        "reconnect_timeout": POOL_TRIES_S,
        "max_idle": IDLE_IN_POOL_S,
    }
    return {**found, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True}
