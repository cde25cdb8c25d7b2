"""Celery as its guide says, results in Redis."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

URL = f"redis+socket://{os.environ['PEER_REDIS']}?virtual_host=1"
app = Celery("peer", broker=URL, backend=URL)
app.conf.worker_hijack_root_logger = False


@app.task(name="echo")
def echo(input: dict[str, Any]) -> dict[str, Any]:
    """Give the input back."""
    return input
