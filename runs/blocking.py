"""Saying BLOCKED of runs that wait for a limit of their action, and taking it back.

Such a run stays in line and is claimed as soon as the limit allows: BLOCKED is what it shows meanwhile. One that
waits for other runs is BLOCKED too, and not in line: see `runs.dependencies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now

from actions.models import Action
from rest.errors import stored_error
from runs import lifecycle
from runs.gates import Standing
from runs.models import EXECUTABLE, Batch, BatchStatus, ReadyRun, Run, RunStatus

STEP = 500
PATIENCE = timedelta(seconds=3)  # a run that is served again sooner is not worth a line in its timeline


@dataclass(frozen=True, slots=True)
class Why:
    """Why a run is BLOCKED: a line for its timeline, until when if that is known, and an error if nobody knows."""

    reason: str
    until: datetime | None = None
    error: dict[str, Any] | None = None


def why_paused(action: Action | Standing) -> Why:
    """Return why runs of an action that is paused or switched off wait."""
    if action.enabled:
        label, state = "ACTION_PAUSED", "paused"
    else:
        label, state = "ACTION_SWITCHED_OFF", "switched off"
    reason = f"the action is {state}"
    message = f"The action '{action.name}' is {state}. The run goes on once it is not."
    return Why(reason, error=stored_error(label, message, scope="limit", params={"action_name": action.name}))


def _why(standing: Standing) -> Why:
    if standing.paused or not standing.enabled:
        return why_paused(standing)
    if standing.closed_until:
        return Why("the rate of the action is used up", standing.closed_until)
    return Why("as many batches of the action are executed as may be at once")


def block(standings: Sequence[Standing], *, now: datetime) -> int:
    """Move runs to BLOCKED that wait in line for a limit, and for a while. Returns how many."""
    count = 0
    for standing in standings:
        if standing.is_open:
            continue
        why = _why(standing)
        in_line = ReadyRun.objects.filter(action=standing.action_id)
        if not (why.error or (why.until and why.until - now > PATIENCE)):
            in_line = in_line.filter(waiting_since__lt=Now() - PATIENCE)
        waiting = Run.objects.places().filter(~_in_hand(), pk__in=in_line.values("run_id"), status__in=EXECUTABLE)
        for run in waiting.order_by("pk")[:STEP]:
            count += lifecycle.move(
                run.pk, RunStatus.BLOCKED, now=now, reason=why.reason, postponed_until=why.until, last_error=why.error
            )
    return count


def unblock(standings: Sequence[Standing], *, now: datetime) -> int:
    """Move runs out of BLOCKED whose limit is open again, or that were claimed meanwhile. Returns how many."""
    opened = [standing.action_id for standing in standings if standing.is_open]
    claimed = Run.objects.filter(_in_hand(), status=RunStatus.BLOCKED)  # with its last batch it is in line no more
    count = _move(claimed, RunStatus.RUNNING, now=now)
    # Where a slot is free for a moment, whoever claims it takes the label off. Others would get it back at once.
    unlimited = [standing.action_id for standing in standings if standing.is_open and not standing.is_limited]
    over = Q(action__in=unlimited) | Q(last_error__isnull=False) | Q(postponed_until__lte=now)
    count += _move(_blocked().filter(~_in_hand(), over, action__in=opened), RunStatus.QUEUED, now=now)
    for standing in standings:
        if not standing.is_open:
            _say_why(standing, now=now)
    return count


def _move(runs: QuerySet[Run], target: RunStatus, *, now: datetime) -> int:
    cleared: dict[str, Any] = {"postponed_until": None, "last_error": None}
    found = list(runs.only("id").order_by("pk")[:STEP])
    ReadyRun.objects.filter(pk__in=[run.pk for run in found]).update(waiting_since=Now())
    return sum(lifecycle.move(run.pk, target, now=now, reason="the limit is open", **cleared) for run in found)


def _say_why(standing: Standing, *, now: datetime) -> None:
    """Bring what BLOCKED runs of an action say up to date: another limit may be in the way than at first."""
    why = _why(standing)
    outdated = ~Q(label=why.error["label"]) | Q(label=None) if why.error else Q(last_error__isnull=False)
    if why.until:
        outdated |= Q(postponed_until=None) | Q(postponed_until__lt=now)
    else:
        outdated |= Q(postponed_until__isnull=False)
    blocked = _blocked().annotate(label=KeyTextTransform("label", "last_error")).filter(action=standing.action_id)
    outdated_ids = list(blocked.filter(outdated).order_by("pk").values_list("pk", flat=True)[:STEP])
    Run.objects.filter(pk__in=outdated_ids, status=RunStatus.BLOCKED).update(
        postponed_until=why.until, last_error=why.error
    )


def _blocked() -> QuerySet[Run]:
    return Run.objects.filter(status=RunStatus.BLOCKED, pk__in=ReadyRun.objects.values("run_id"))


def _in_hand() -> Exists:
    return Exists(Batch.objects.filter(run=OuterRef("pk"), status=BatchStatus.LEASED))
