"""What workers and people do to a run, one step at a time."""

from __future__ import annotations

import time
from typing import Any

from django.utils import timezone

from runs import cancellation, dispatch, resumption
from runs.checkpoint import Outcome
from runs.leases import Lease
from runs.lifecycle import By
from runs.models import Actor, Run
from runs.resumption import FailedInputs
from tests.factories import Member


def claim(action_name: str = "double", *, worker: str = "test:1") -> Lease:
    """Take the next batch of an action in hand; there must be one."""
    lease = dispatch.claim(worker=worker, actions=[action_name], now=timezone.now())
    assert lease is not None
    return lease


def ok(offset: int, attempt: int = 1) -> Outcome:
    """Return what is recorded of an input that gave its own offset."""
    return Outcome(offset, attempt, time.time(), time.time(), outputs=[b"%d" % offset])


def by(who: Member) -> By:
    return By(Actor.MEMBER, who.user.uid)


def cancel(run: Run, who: Member) -> Run:
    return cancellation.cancel(run, by=by(who), now=timezone.now())


def resume(run: Run, who: Member, **wanted: Any) -> Run:
    """Resume a run; `wanted` says which failed inputs are to run again, as `FailedInputs` does."""
    return resumption.resume(run, by=by(who), now=timezone.now(), wanted=FailedInputs(**wanted))
