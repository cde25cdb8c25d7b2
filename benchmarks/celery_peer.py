"""The peer: a plain Celery app whose task does what `echo` does. PEER_URL names its broker and result backend."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery


def make_app() -> Celery:
    """Return the app; for callers in threads one each, since the results of one are not for several to wait on."""
    made = Celery("peer", broker=os.environ["PEER_URL"], backend=os.environ["PEER_URL"])
    made.conf.worker_prefetch_multiplier = 1
    return made


app = make_app()


@app.task(name="echo")
def echo(input: dict[str, Any]) -> dict[str, Any]:
    """Give the input back."""
    return input
