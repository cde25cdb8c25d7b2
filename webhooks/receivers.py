"""Receivers: the origins that a workspace's callbacks go to, whose turn it is, and how they fare.

Every column of the table is written here. Whoever makes a callback due (`wake`) or takes what is due away (`take_turn`,
`end_turn`) holds the receiver's row, and works `wakes_at` out, or moves it, when all it has stored can be seen: so
nothing that is due is overlooked, whoever comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.db import connection, transaction
from django.utils import timezone

from rest.errors import Conflict, NotFound
from webhooks.delivery import Attempt
from webhooks.models import Receiver, ReceiverStatus
from webhooks.pausing import Standing
from workspaces.models import Workspace

log = structlog.get_logger(__name__)

PAUSED_BY_HAND = "Paused by hand."
USED_LATELY = timedelta(hours=12)  # less than anything is kept

# When the first callback that waits may be sent, by the pause that `{until}` ends.
_FIRST_DUE = """(
    SELECT GREATEST(next_attempt_at, {until}) FROM webhooks_callback
     WHERE receiver_id = receiver.id AND status = 'PENDING'
     ORDER BY next_attempt_at LIMIT 1
)"""


def receiver_of(workspace: Workspace, origin: str) -> Receiver:
    """Return a workspace's receiver of an origin, made when there is none: behind all others, for its first turn.

    One that was not used for long counts as used from here on: `webhooks.retention` would delete it.
    """
    now = timezone.now()
    receiver, is_new = Receiver.objects.get_or_create(workspace=workspace, origin=origin, defaults={"served_at": now})
    if is_new or receiver.wakes_at or (receiver.served_at and receiver.served_at > now - USED_LATELY):
        return receiver
    if Receiver.objects.filter(pk=receiver.pk).update(served_at=now):
        return receiver
    return receiver_of(workspace, origin)  # it was deleted a moment ago


# Locked in one order: several may be woken at once, by several.
_WAKE = """
UPDATE webhooks_receiver AS receiver
   SET wakes_at = LEAST(receiver.wakes_at, GREATEST(clock_timestamp(), receiver.paused_until))
  FROM (SELECT id FROM webhooks_receiver WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE) AS woken
 WHERE receiver.id = woken.id
"""


def wake(receiver_ids: Collection[int]) -> None:
    """Have receivers served as soon as may be: callbacks of theirs are due. A pause stays.

    At the end of the transaction that made them due.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WAKE, [list(receiver_ids)])


@dataclass(frozen=True, slots=True)
class Turn:
    """A receiver whose callbacks are claimed next. Of one that is paused a single one may be: it is a probe.

    With `from_newest` it is the newest that is due. Every other probe is: an origin may have several URLs, and one that
    fails for ever must not be all that is tried.
    """

    receiver_id: int
    workspace_id: int
    is_probe: bool
    from_newest: bool


# The times of the statement, which unlike those of the clock an index can be asked for.
_DUE = """
FROM webhooks_receiver
 WHERE wakes_at <= statement_timestamp() AND (status = 'OK' OR paused_until <= statement_timestamp())
   AND id <> ALL(%s) AND workspace_id <> ALL(%s)
"""
_NEXT = f"""
SELECT id, workspace_id, status, failures_in_row {_DUE}
 ORDER BY workspace_id <= %s, workspace_id, served_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
_IS_ANY_DUE = f"SELECT EXISTS (SELECT {_DUE})"


def take_turn(
    *, without: Collection[int], without_workspaces: Collection[int] = (), after_workspace: int = 0
) -> Turn | None:
    """Lock the receiver whose turn it is until the transaction ends.

    Of the workspaces that have something due it is the next `after_workspace`, by their ids and round again, so that
    nobody is served more for having many receivers; of its receivers the one that was served longest ago.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, [list(without), list(without_workspaces), after_workspace])
        found = cursor.fetchone()
    if found is None:
        return None
    receiver_id, workspace_id, status, failures_in_row = found
    is_probe = status == ReceiverStatus.PAUSED
    return Turn(receiver_id, workspace_id, is_probe, from_newest=is_probe and failures_in_row % 2 == 1)


def is_any_due(*, without: Collection[int], without_workspaces: Collection[int] = ()) -> bool:
    """Return whether a receiver has something due: after `take_turn` found none, one that is locked for a moment."""
    with connection.cursor() as cursor:
        cursor.execute(_IS_ANY_DUE, [list(without), list(without_workspaces)])
        return bool(cursor.fetchone()[0])


_SERVED = f"""
UPDATE webhooks_receiver AS receiver
   SET served_at = clock_timestamp(), wakes_at = {_FIRST_DUE.format(until="receiver.paused_until")}
 WHERE id = %s
"""
_PROBED = f"""
UPDATE webhooks_receiver AS receiver
   SET served_at = clock_timestamp(), paused_until = until.at, wakes_at = {_FIRST_DUE.format(until="until.at")}
  FROM (SELECT clock_timestamp() + make_interval(secs => %s) AS at) AS until
 WHERE id = %s
"""


def end_turn(turn: Turn, *, probe_s: float | None) -> None:
    """Have the receiver served again when the next that waits is due, behind all others.

    With `probe_s` a probe is under way: there is no other until it is recorded, or so many seconds are over.
    """
    with connection.cursor() as cursor:
        if probe_s is None:
            cursor.execute(_SERVED, [turn.receiver_id])
        else:
            cursor.execute(_PROBED, [probe_s, turn.receiver_id])


@dataclass(frozen=True, slots=True)
class Result:
    """An attempt that ended, as its receiver sees it."""

    attempt: Attempt
    is_probe: bool


_LOCK = """
SELECT id, status, failures_in_row, success_rate, last_error FROM webhooks_receiver
 WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE
"""
_NOTE = f"""
UPDATE webhooks_receiver AS receiver
   SET status = told.status, failures_in_row = told.failures_in_row, success_rate = told.success_rate,
       last_error = told.last_error, paused_until = told.paused_until,
       wakes_at = {_FIRST_DUE.format(until="told.paused_until")}
  FROM (SELECT told.*, CASE WHEN told.status = 'OK' THEN NULL WHEN pause_s IS NULL THEN before.paused_until
                       ELSE clock_timestamp() + make_interval(secs => pause_s) END AS paused_until
          FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::float8[], %s::text[], %s::float8[])
               AS told (id, status, failures_in_row, success_rate, last_error, pause_s)
               JOIN webhooks_receiver AS before USING (id)) AS told
 WHERE receiver.id = told.id
"""


def note(results: Mapping[int, Sequence[Result]]) -> set[int]:
    """Write down how attempts ended, by receiver and in order; return the receivers that are paused.

    In the transaction that recorded them, after that: what waits for a retry counts from here on.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK, [list(results)])
        before = {row[0]: Standing(*row[1:]) for row in cursor.fetchall()}
        standings = {key: _after(standing, results[key]) for key, standing in before.items()}
        if not standings:
            return set()
        columns = [
            (key, one.status, one.failures_in_row, one.success_rate, one.last_error, one.pause_s)
            for key, one in standings.items()
        ]
        cursor.execute(_NOTE, [list(column) for column in zip(*columns, strict=True)])
    for key, standing in standings.items():
        if standing.is_paused != before[key].is_paused:
            log.info("receiver_paused" if standing.is_paused else "receiver_is_back", receiver_id=key)
    return {key for key, standing in standings.items() if standing.is_paused}


def _after(standing: Standing, results: Sequence[Result]) -> Standing:
    for result in results:
        standing = standing.after(result.attempt, is_probe=result.is_probe)
    return standing


# --- By hand

_PAUSE = f"""
UPDATE webhooks_receiver AS receiver
   SET status = 'PAUSED', failures_in_row = 0, last_error = %s, paused_until = until.at,
       wakes_at = {_FIRST_DUE.format(until="until.at")}
  FROM (SELECT clock_timestamp() + make_interval(secs => %s) AS at) AS until
 WHERE id = %s
"""
_DRAIN = f"""
UPDATE webhooks_receiver AS receiver
   SET status = 'OK', failures_in_row = 0, paused_until = NULL,
       wakes_at = {_FIRST_DUE.format(until="NULL::timestamptz")}
 WHERE id = %s AND status = 'PAUSED'
"""


def pause(receiver: Receiver, *, seconds: float) -> None:
    """Have nothing sent to a receiver for so long, in place of a pause it has. Then a single callback probes it.

    What is under way is still sent, and ends the pause in no case: that takes a probe, or `drain`.

    Raises:
        NotFound: it was deleted.
    """
    if not _write(receiver, _PAUSE, [PAUSED_BY_HAND, seconds]):
        raise _gone(receiver)
    log.info("receiver_paused", receiver_id=receiver.pk, by_hand=True)


def drain(receiver: Receiver) -> None:
    """End a receiver's pause now: all that waits for it is sent, as if it had never failed.

    Raises:
        Conflict: it is not paused.
        NotFound: it was deleted.
    """
    if _write(receiver, _DRAIN):
        log.info("receiver_is_back", receiver_id=receiver.pk, by_hand=True)
        return
    if not Receiver.objects.filter(pk=receiver.pk).exists():
        raise _gone(receiver)
    raise Conflict("The receiver is not paused.", {"status": ReceiverStatus.OK.value})


def _write(receiver: Receiver, statement: str, values: Sequence[str | float] = ()) -> bool:
    """Change a receiver, holding its row first: what is stored for it meanwhile can then be seen."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT FROM webhooks_receiver WHERE id = %s FOR NO KEY UPDATE", [receiver.pk])
        cursor.execute(statement, [*values, receiver.pk])
        return cursor.rowcount == 1


def _gone(receiver: Receiver) -> NotFound:
    return NotFound("There is no such receiver.", {"origin": receiver.origin})


# The first of each receiver, found by skipping from one to the next in the index: there may be many callbacks.
_FORGOTTEN = """
WITH RECURSIVE line AS (
    (SELECT receiver_id, next_attempt_at FROM webhooks_callback WHERE status = 'PENDING'
      ORDER BY receiver_id, next_attempt_at LIMIT 1)
    UNION ALL
    SELECT following.* FROM line CROSS JOIN LATERAL (
           SELECT receiver_id, next_attempt_at FROM webhooks_callback
            WHERE status = 'PENDING' AND receiver_id > line.receiver_id
            ORDER BY receiver_id, next_attempt_at LIMIT 1) AS following
)
SELECT receiver.id FROM line JOIN webhooks_receiver AS receiver ON receiver.id = line.receiver_id
 WHERE receiver.wakes_at IS NULL
    OR receiver.wakes_at > GREATEST(line.next_attempt_at, receiver.paused_until, statement_timestamp())
"""


def forgotten() -> list[int]:
    """Return the receivers that would be served later than a callback of theirs is due."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGOTTEN)
        return [row[0] for row in cursor.fetchall()]
