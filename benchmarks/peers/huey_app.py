"""Huey with Redis."""

from __future__ import annotations

import os
from typing import Any

from huey import RedisHuey

huey = RedisHuey("peer", url=f"unix://{os.environ['PEER_REDIS']}?db=4")


@huey.task()
def echo(input: dict[str, Any]) -> dict[str, Any]:
    """Give the input back."""
    return input
