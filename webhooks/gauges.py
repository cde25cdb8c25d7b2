"""How callbacks and their receivers stand, for `/metrics`: read from a bounded number of rows."""

from __future__ import annotations

from typing import NamedTuple

from django.db import connection

from webhooks.models import ReceiverStatus

COUNTED_CALLBACKS = 10_000
COUNTED_RECEIVERS = 10_000


class Undelivered(NamedTuple):
    """So many callbacks wait, are under way, and one that may be sent has not been for `wait_s`."""

    pending: int
    running: int
    wait_s: float


_UNDELIVERED = """
SELECT (SELECT count(*) FROM (SELECT FROM webhooks_callback WHERE status = 'PENDING' LIMIT %(limit)s) AS one),
       (SELECT count(*) FROM (SELECT FROM webhooks_callback WHERE status = 'RUNNING' LIMIT %(limit)s) AS one),
       (SELECT COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - min(wakes_at)), 0)::float8 FROM webhooks_receiver
         WHERE wakes_at IS NOT NULL)
"""


def undelivered() -> Undelivered:
    """Return what is still to arrive; of each status COUNTED_CALLBACKS are counted at most."""
    with connection.cursor() as cursor:
        cursor.execute(_UNDELIVERED, {"limit": COUNTED_CALLBACKS})
        pending, running, wait_s = cursor.fetchone()
    return Undelivered(pending, running, max(wait_s, 0.0))


_RECEIVERS = """
SELECT status, count(*) FROM (SELECT status FROM webhooks_receiver LIMIT %s) AS receiver GROUP BY status
"""


def receivers() -> dict[str, int]:
    """Return how many receivers have each status; COUNTED_RECEIVERS are counted at most."""
    with connection.cursor() as cursor:
        cursor.execute(_RECEIVERS, [COUNTED_RECEIVERS])
        found = dict(cursor.fetchall())
    return {status: found.get(status, 0) for status in ReceiverStatus.values}
