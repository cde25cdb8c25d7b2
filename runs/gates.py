"""How much of an action is executed at once, and in a time, in the whole installation (contract section 7).

An action is open while a worker may claim a batch of it: it is switched on and not paused, fewer than
`max_concurrency` of its batches are in workers' hands, and its `rate` allows an input to begin. Claims look at that
first. What they cannot see, because others claim at the same moment, is decided under the lock of the action's gate.

The rate holds in every window of its period, however the windows are laid: `ActionGate.begun` is the log of what was
begun, and an input begins after it was written there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from actions import catalogue, registry
from actions.limits import Limits, count_and_period
from actions.models import Action
from runs.leases import Lease
from runs.models import ActionGate

log = structlog.get_logger(__name__)

RESOLUTION = 64  # of a period: what begins within such a part of it is one entry of the log
BEGINS_WITHIN_S = 0.05  # of its permit an input begins, or asks for another
MAX_ASKS = 3

STANDINGS = """
SELECT action.id, action.name, action.enabled, action.paused,
       -- Not when a rate has changed since: the next to ask finds out how it stands now.
       CASE WHEN gate.closed_until > clock_timestamp() AND gate.closed_by = concat(code.rate, ' ', action.rate)
            THEN gate.closed_until END AS closed_until,
       COALESCE(limits.max_concurrency::text, code.rate, action.rate) IS NOT NULL AS is_limited,
       CASE WHEN limits.max_concurrency IS NULL THEN false
            ELSE limits.max_concurrency <= (
                 SELECT count(*) FROM runs_batch AS batch JOIN runs_run AS run ON run.id = batch.run_id
                  WHERE batch.status = 'LEASED' AND run.action_id = action.id) END AS is_full
  FROM unnest(%(actions)s::text[], %(max_concurrency)s::int[], %(rates)s::text[])
            AS code (name, max_concurrency, rate)
       JOIN actions_action AS action ON action.name = code.name
       LEFT JOIN runs_actiongate AS gate ON gate.action_id = action.id
       CROSS JOIN LATERAL (SELECT LEAST(action.max_concurrency, code.max_concurrency) AS max_concurrency) AS limits
"""

OPEN = "enabled AND NOT paused AND closed_until IS NULL AND NOT is_full"
"""Of a row of STANDINGS: whether batches of the action may be claimed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether an action is open, and what it waits for where it is not. `closed_until` is the rate's."""

    action_id: int
    name: str
    enabled: bool
    paused: bool
    closed_until: datetime | None
    is_limited: bool
    is_full: bool

    @property
    def is_open(self) -> bool:
        return self.enabled and not self.paused and self.closed_until is None and not self.is_full


class Closed(Exception):
    """The action was open at a look, and others came first. `until` is None where nobody knows."""

    def __init__(self, action: Action, until: datetime | None = None) -> None:
        self.action = action
        self.until = until


def names_of(actions: Collection[str]) -> dict[str, Any]:
    """Return the arguments of STANDINGS for the actions that this process has the code of."""
    found = [registry.get(name) for name in actions]
    return {
        "actions": list(actions),
        "max_concurrency": [one and one.max_concurrency for one in found],
        "rates": [one and one.rate for one in found],
    }


def standings() -> list[Standing]:
    """Return where each action stands that this process has the code of."""
    with connection.cursor() as cursor:
        cursor.execute(STANDINGS, names_of(registry.names()))
        return [Standing(*row) for row in cursor.fetchall()]


def enter(lease: Lease) -> None:
    """Let a batch that was just claimed through its action's gate, in the claim's transaction.

    A live call is one input: it takes its permit here, since nobody could put it back.

    Raises:
        Closed: others were first. The claim has to be undone.
    """
    limits = limits_of(lease)
    if limits is None or not (limits.max_concurrency or (limits.rate and lease.is_live)):
        return
    gate, now = _lock(lease.action)
    if limits.max_concurrency and _batches_in_hand(lease.action.pk) > limits.max_concurrency:
        raise Closed(lease.action)
    if limits.rate and lease.is_live:
        granted, gate.begun, closed_until = admit(gate.begun, rate=limits.rate, now=now, wanted=1)
        if not granted:
            raise Closed(lease.action, closed_until)
        _save(gate, closed_until)


def close(closed: Closed) -> None:
    """Write down until when an action is closed, after the claim that found it so was undone."""
    if closed.until:
        changes = {"closed_until": closed.until, "closed_by": _rates(closed.action)}
        ActionGate.objects.filter(pk=closed.action.pk).update(**changes)


class Permits:
    """What a worker may begin of an action with a rate. One thread asks.

    `closed_for_s` is how long the action is closed for, once it is.
    """

    closed_for_s: float | None = None

    def __init__(self, action: Action, rate: str) -> None:
        self._action = action
        self._rate = rate

    def take(self, wanted: int) -> int:
        """Return how many of `wanted` inputs may begin now, at once. When it is fewer, no others are to begin."""
        try:
            for _ in range(MAX_ASKS):
                granted, took_s = self._ask(wanted)
                if took_s < BEGINS_WITHIN_S:
                    return granted
        except (OperationalError, InterfaceError) as error:
            # Nothing more begins; what has ended is recorded as always, on a new connection.
            log.warning("permits_not_given", action=self._action.name, error=str(error).strip())
            connection.close()
        return 0

    def _ask(self, wanted: int) -> tuple[int, float]:
        """Return how many were granted, and how long ago by now: a commit may take its time."""
        with transaction.atomic():
            gate, now = _lock(self._action)
            counted_at = time.monotonic()
            granted, gate.begun, closed_until = admit(gate.begun, rate=self._rate, now=now, wanted=wanted)
            _save(gate, closed_until)
        self.closed_for_s = closed_until.timestamp() - now if closed_until else None
        return granted, time.monotonic() - counted_at


def used_up_until(action: Action) -> datetime | None:
    """Return until when the rate of an action is used up; None where an input may begin."""
    with connection.cursor() as cursor:
        cursor.execute(STANDINGS, names_of([action.name]))
        return next((Standing(*row).closed_until for row in cursor.fetchall()), None)


def permits_of(lease: Lease, limits: Limits) -> Permits | None:
    """Return the permits that the inputs of a batch need one by one; None where it is executed without."""
    return Permits(lease.action, limits.rate) if limits.rate and not lease.is_live else None


def limits_of(lease: Lease) -> Limits | None:
    """Return the limits in force for a batch; None where its action's code is not here."""
    definition = registry.get(lease.action.name)
    return catalogue.limits(definition, lease.action) if definition else None


Begun = Sequence[Sequence[float]]


def admit(begun: Begun, *, rate: str, now: float, wanted: int) -> tuple[int, list[list[float]], datetime | None]:
    """Return how many of `wanted` inputs may begin, the log with them in it, and until when the action is closed.

    `begun` is that log: [epoch seconds, number of inputs], oldest first. It is closed, and not None, when nothing is
    left of the rate. Inputs count as begun at the end of their part of the period, and no sooner than they may begin.
    """
    limit, period_s = count_and_period(rate)
    part_s = period_s / RESOLUTION
    log = [[at, count] for at, count in begun if at > now - period_s]
    used = sum(count for _, count in log)
    granted = max(0, min(wanted, limit - int(used)))
    if granted:
        at = math.ceil((now + BEGINS_WITHIN_S) / part_s) * part_s
        if log and log[-1][0] >= at:
            log[-1][1] += granted
        else:
            log.append([at, granted])
    if used + granted < limit:
        return granted, log, None
    return granted, log, datetime.fromtimestamp(log[0][0] + period_s, UTC)


def _rates(action: Action) -> str:
    """Return the rates that the code and the row of an action give it, as STANDINGS puts them together."""
    definition = registry.get(action.name)
    return f"{(definition and definition.rate) or ''} {action.rate or ''}"


def _lock(action: Action) -> tuple[ActionGate, float]:
    """Lock an action's gate until the transaction ends, and return it with the database's time after that."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_actiongate (action_id, begun, closed_by) VALUES (%s, '[]', '') ON CONFLICT DO NOTHING",
            [action.pk],
        )
        cursor.execute("SELECT begun FROM runs_actiongate WHERE action_id = %s FOR UPDATE", [action.pk])
        (begun,) = cursor.fetchone()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        (now,) = cursor.fetchone()
    return ActionGate(action=action, begun=json.loads(begun), closed_by=_rates(action)), now


def _save(gate: ActionGate, closed_until: datetime | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_actiongate SET begun = %s, closed_until = %s, closed_by = %s WHERE action_id = %s",
            [json.dumps(gate.begun), closed_until, gate.closed_by, gate.action_id],
        )


_IN_HAND = """
SELECT count(*) FROM runs_batch AS batch JOIN runs_run AS run ON run.id = batch.run_id
 WHERE batch.status = 'LEASED' AND run.action_id = %s
"""


def _batches_in_hand(action_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_IN_HAND, [action_id])
        return int(cursor.fetchone()[0])
