"""Which callbacks are sent next, and in whose hands they are: every change of `Callback.status` happens here.

A sender that has room claims what is due of the receiver that was served longest ago, of the workspace whose turn it
is. A claim is a compare-and-set that raises the callback's `claim` and leases it for longer than an attempt can take,
so a lease is never renewed. Whoever records an attempt names the claim it was made under; when that is no longer true,
nothing is recorded: another sender has the callback, or it was deleted. Lease times are the database's clock.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from webhooks import counters, receivers, retries
from webhooks.delivery import TIMEOUT_S, Attempt
from webhooks.models import CallbackStatus
from webhooks.receivers import Result

START_WITHIN_S = 4.0  # of the claim; later it is handed back
RECORD_WITHIN_S = 1.0  # of the end of an attempt that was begun last and took longest
SWEEP_STEP = 500


def lease_s() -> float:
    """Return for how long a callback is in the hands of who claimed it."""
    return max(float(settings.RUNYARD_LEASE_SECONDS), TIMEOUT_S) + START_WITHIN_S + RECORD_WITHIN_S


@dataclass(frozen=True, slots=True)
class Claim:
    """A callback in a sender's hands. `attempts` were made before; `start_by` is a monotonic time."""

    is_probe: bool
    start_by: float
    callback_id: int
    number: int
    receiver_id: int
    workspace_id: int
    destination_id: int
    body_pack_id: int
    body_position: int
    ref_uid: UUID
    attempts: int


# The callbacks are found by their ids alone: the inner query has looked at their status and locked them. As an array it
# is asked once: as rows of a join it may be asked again for each callback, and each time it locks as many more.
_CLAIM = """
UPDATE webhooks_callback AS callback
   SET status = 'RUNNING', claim = callback.claim + 1, worker = %(worker)s,
       leased_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE callback.id = ANY (ARRAY(
       SELECT id FROM webhooks_callback
        WHERE receiver_id = %(receiver)s AND status = 'PENDING' AND next_attempt_at <= statement_timestamp()
        ORDER BY {order} LIMIT %(count)s FOR UPDATE SKIP LOCKED))
RETURNING callback.id, callback.claim, callback.receiver_id, callback.workspace_id, callback.destination_id,
       callback.body_pack_id, callback.body_position, callback.ref_uid, jsonb_array_length(callback.attempts)
"""
_CLAIM_OLDEST = _CLAIM.format(order="next_attempt_at, id")
_CLAIM_NEWEST = _CLAIM.format(order="next_attempt_at DESC, id DESC")


def claim(
    *,
    worker: str,
    room: Callable[[int, int], int],
    without: Collection[int] = (),
    without_workspaces: Collection[int] = (),
    after_workspace: int = 0,
) -> list[Claim] | None:
    """Claim what is due of the receiver that was served longest ago, of the workspace that comes `after_workspace`.

    Not of the receivers and workspaces `without`. `room` says how many of a receiver may be claimed, by its id and its
    workspace's. Returns None when nothing is due, and an empty list when something may be: what was found is gone, or
    there is no room for it, or others hold the receiver for a moment.
    """
    claimed_at = time.monotonic()
    with transaction.atomic():
        turn = receivers.take_turn(
            without=without, without_workspaces=without_workspaces, after_workspace=after_workspace
        )
        if turn is None:
            is_any_due = receivers.is_any_due(without=without, without_workspaces=without_workspaces)
            return [] if is_any_due else None
        may_take = room(turn.receiver_id, turn.workspace_id)
        values: dict[str, Any] = {
            "worker": worker,
            "lease_s": lease_s(),
            "receiver": turn.receiver_id,
            "count": min(1, may_take) if turn.is_probe else may_take,
        }
        with connection.cursor() as cursor:
            cursor.execute(_CLAIM_NEWEST if turn.from_newest else _CLAIM_OLDEST, values)
            rows = sorted(cursor.fetchall())  # the oldest first; the ids differ
        receivers.end_turn(turn, probe_s=lease_s() if turn.is_probe and rows else None)
    start_by = claimed_at + lease_s() - TIMEOUT_S - RECORD_WITHIN_S
    return [Claim(turn.is_probe, start_by, *row) for row in rows]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a claim ended. Without an attempt nothing was sent: the callback waits as if it had not been claimed."""

    claim: Claim
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of recording: the receivers that are paused, and what a lock was in the way of, to be tried again."""

    paused: set[int]
    locked: list[Outcome]


# Whoever deletes a run may hold its callbacks for a while: all others are recorded meanwhile. One whose lease ran out
# and that nobody has claimed since still names its worker: what came of it counts, however late.
_HELD = """
SELECT callback.id FROM webhooks_callback AS callback JOIN told ON told.id = callback.id
 WHERE callback.claim = told.claim
   AND (callback.status = 'RUNNING' OR callback.status = 'PENDING' AND callback.worker <> '')
"""
_LOCK_HELD = f"{_HELD} ORDER BY callback.id FOR NO KEY UPDATE OF callback SKIP LOCKED"
_TOLD = "told AS (SELECT * FROM unnest(%(ids)s::bigint[], %(claims)s::int[]) AS told (id, claim))"

_RECORD = f"""
WITH told AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%s::jsonb)
                  AS told (id bigint, claim int, status text, delay_s float8, attempt jsonb)
), held AS MATERIALIZED ({_LOCK_HELD})
UPDATE webhooks_callback AS callback
   SET status = told.status, attempts = callback.attempts || told.attempt, leased_until = NULL, worker = '',
       next_attempt_at = clock_timestamp() + make_interval(secs => told.delay_s)
  FROM told JOIN held ON held.id = told.id
 WHERE callback.id = held.id
RETURNING callback.id, callback.status, EXTRACT(EPOCH FROM clock_timestamp() - callback.created_at)::float8
"""
_HAND_BACK = f"""
WITH {_TOLD}, held AS MATERIALIZED ({_LOCK_HELD})
UPDATE webhooks_callback AS callback SET status = 'PENDING', leased_until = NULL, worker = ''
  FROM held WHERE callback.id = held.id
RETURNING callback.id, callback.receiver_id
"""
_STILL_HELD = f"WITH {_TOLD} {_HELD}"


def record(outcomes: Sequence[Outcome]) -> Recorded:
    """Write down how claims ended, in order, for all that are still held, and how their receivers fare now."""
    attempted = [(outcome, outcome.attempt) for outcome in outcomes if outcome.attempt is not None]
    unsent = [outcome for outcome in outcomes if outcome.attempt is None]
    # Apart, because each locks receivers, in order.
    done, paused = _record_attempts(attempted) if attempted else (set[int](), set[int]())
    if unsent:
        done |= _hand_back(unsent)
    missing = [outcome for outcome in outcomes if outcome.claim.callback_id not in done]
    return Recorded(paused, _still_held(missing) if missing else [])


def _record_attempts(attempted: Sequence[tuple[Outcome, Attempt]]) -> tuple[set[int], set[int]]:
    # As one text, because quotes in an array of texts are escaped one by one, in Python.
    told = json.dumps([_told(outcome.claim, attempt) for outcome, attempt in attempted])
    results: dict[int, list[Result]] = defaultdict(list)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_RECORD, [told])
            done = {row[0]: row[1:] for row in cursor.fetchall()}
        recorded = [(outcome, attempt) for outcome, attempt in attempted if outcome.claim.callback_id in done]
        for outcome, attempt in recorded:
            results[outcome.claim.receiver_id].append(Result(attempt, outcome.claim.is_probe))
        paused = receivers.note(results) if results else set()
    for outcome, attempt in recorded:
        status, age_s = done[outcome.claim.callback_id]
        counters.count_attempt(attempt, status, age_s=age_s)
    return set(done), paused


def _told(claim: Claim, attempt: Attempt) -> dict[str, Any]:
    status, delay_s = _following(claim, attempt)
    return {
        "id": claim.callback_id,
        "claim": claim.number,
        "status": status.value,
        "delay_s": delay_s,
        "attempt": attempt.shown(),
    }


def _following(claim: Claim, attempt: Attempt) -> tuple[CallbackStatus, float | None]:
    """Return where a callback goes after an attempt, and in how many seconds the next one is due."""
    if attempt.is_success:
        return CallbackStatus.SUCCESS, None
    delay_s = None
    if not attempt.is_gone:
        delay_s = retries.delay_s(claim.attempts + 1, retry_after_s=attempt.retry_after_s)
    return (CallbackStatus.FAILED if delay_s is None else CallbackStatus.PENDING), delay_s


def _hand_back(unsent: Sequence[Outcome]) -> set[int]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_HAND_BACK, _names_of([outcome.claim for outcome in unsent]))
            rows = cursor.fetchall()
        if rows:
            receivers.wake({receiver_id for _, receiver_id in rows})
    return {callback_id for callback_id, _ in rows}


def _still_held(outcomes: Sequence[Outcome]) -> list[Outcome]:
    with connection.cursor() as cursor:
        cursor.execute(_STILL_HELD, _names_of([outcome.claim for outcome in outcomes]))
        held = {row[0] for row in cursor.fetchall()}
    return [outcome for outcome in outcomes if outcome.claim.callback_id in held]


def _names_of(claims: Sequence[Claim]) -> dict[str, Any]:
    return {"ids": [claim.callback_id for claim in claims], "claims": [claim.number for claim in claims]}


_EXPIRE = """
UPDATE webhooks_callback
   SET status = 'PENDING', leased_until = NULL
 WHERE id = ANY (ARRAY(
       SELECT id FROM webhooks_callback
        WHERE status = 'RUNNING' AND leased_until < statement_timestamp()
        ORDER BY leased_until LIMIT %s FOR UPDATE SKIP LOCKED))
RETURNING receiver_id
"""


def expire_leases(*, limit: int = SWEEP_STEP) -> int:
    """Make callbacks due again whose sender is gone, at most `limit`. Returns how many.

    Nobody knows whether they arrived, so no attempt is counted: however often senders die, each has its ten. A sender
    that lives and was only late to record it may still do so, until another claims the callback.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_EXPIRE, [limit])
            receiver_ids = [row[0] for row in cursor.fetchall()]
        if receiver_ids:
            receivers.wake(set(receiver_ids))
    return len(receiver_ids)
