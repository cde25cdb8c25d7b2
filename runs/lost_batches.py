"""Handing back at once the batches of processes of this worker that died or are about to be ended.

Whatever is not handed back here (the whole worker died, the database was away) is ready again when its lease is over.
"""

from __future__ import annotations

import structlog

from runs import dispatch, doorbell
from runs.siblings import is_dead_sibling, pool_prefix

log = structlog.get_logger(__name__)


def hand_back_of_dead_siblings() -> int:
    """Make the batches of this worker's dead processes ready, for one that takes their place. Returns how many."""
    dead = [worker for worker in dispatch.workers_at_work(pool_prefix()) if is_dead_sibling(worker)]
    handed_back = dispatch.take_from_dead(dead) if dead else 0
    if handed_back:
        log.warning("batches_of_the_dead_handed_back", count=handed_back, workers=dead)
        doorbell.ring(handed_back)
    return handed_back


def hand_back_before_stop() -> int:
    """Make the batches of all of this worker's processes ready, just before they are ended. Returns how many."""
    handed_back = dispatch.take_from_stopped(dispatch.workers_at_work(pool_prefix()))
    if handed_back:
        log.info("batches_handed_back", count=handed_back)
        doorbell.ring(handed_back)
    return handed_back
