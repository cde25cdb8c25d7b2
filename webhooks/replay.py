"""Sending again what has been sent: a new callback with the body and the `ref_uid` of one that is done (section 3).

A receiver tells doubles by `callback_ref_uid`, so it takes a replay for what it has, if it has it. Whoever asks for one
callback gets one, delivered before or not. In bulk each failed callback is replayed once: a replay that failed as well
is itself the one to replay next. So asking twice doubles nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from rest.database import try_lock
from rest.errors import Conflict, NotFound
from webhooks import receivers
from webhooks.models import Callback, CallbackStatus
from workspaces.models import Workspace

MAX_AT_ONCE = 10_000
"""Of a bulk, oldest first: some seconds of a request. Asking again replays the next."""

# A UUID of version 7: its time in milliseconds over the random bits of one of version 4, whose version becomes 7.
_UUID7 = """encode(set_bit(set_bit(overlay(
    uuid_send(gen_random_uuid())
    placing substring(int8send(floor(extract(epoch FROM moment) * 1000)::bigint) FROM 3) FROM 1 FOR 6
), 52, 1), 53, 1), 'hex')::uuid"""

_COPIED = "ref_uid, workspace_id, receiver_id, destination_id, body_pack_id, body_position, run_uid, batch_uid"
_FIND = """
SELECT id, body_pack_id, count(*) OVER ()
  FROM webhooks_callback WHERE {condition} ORDER BY created_at, id LIMIT %(limit)s
"""
# Who deletes a run's callbacks deletes its packs first: those that are kept here stay until the replays are committed.
_KEEP = "SELECT id FROM webhooks_bodypack WHERE id = ANY(%(packs)s) ORDER BY id FOR KEY SHARE"
_INSERT = f"""
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS moment), replayed AS (
    INSERT INTO webhooks_callback
        (uid, parent_uid, {_COPIED}, status, claim, worker, next_attempt_at, attempts, created_at)
    SELECT {_UUID7}, uid, {_COPIED}, 'PENDING', 0, '', moment, '[]', moment
      FROM (SELECT uid, {_COPIED} FROM webhooks_callback WHERE id = ANY(%(found)s) ORDER BY created_at, id) AS found,
           clock
    RETURNING id, receiver_id
)
SELECT count(*), min(id), array_agg(DISTINCT receiver_id) FROM replayed
"""
_ONE = "id = %(callback)s AND status IN ('SUCCESS', 'FAILED')"
# A set less a set, which PostgreSQL works out in one pass over each, however much it takes them to be.
_FAILED = """uid IN (
    SELECT uid FROM webhooks_callback WHERE workspace_id = %(workspace)s AND status = 'FAILED' AND {of}
    EXCEPT
    SELECT parent_uid FROM webhooks_callback WHERE workspace_id = %(workspace)s AND parent_uid IS NOT NULL AND {of}
)"""
_OF_RUN, _CREATED_AFTER = "run_uid = %(run_uid)s", "created_at > %(created_after)s"


def replay(callback: Callback) -> Callback:
    """Make a new callback with the body of one that has arrived or failed, due at once, and return it.

    Raises:
        Conflict: it is still to arrive.
        NotFound: it was deleted, with its run.
    """
    with transaction.atomic():
        found, _ = _find(_ONE, {"callback": callback.pk})
        count, key = _insert(found)
        if not count:
            raise _refusal(callback)
        return Callback.objects.with_url().get(pk=key)


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many callbacks a bulk replayed, and how many it found and left."""

    count: int
    remaining: int


def replay_failed(
    workspace: Workspace, *, run_uid: UUID | None = None, created_after: datetime | None = None
) -> Replayed:
    """Replay the failed callbacks of a run, or else those created after a time, that have no replay yet.

    Of more than `MAX_AT_ONCE` the oldest.

    Raises:
        Conflict: another bulk of the workspace is under way.
    """
    of = _OF_RUN if run_uid else _CREATED_AFTER
    values = {"workspace": workspace.pk, "run_uid": run_uid, "created_after": created_after}
    with transaction.atomic():
        _lock(workspace)
        found, total = _find(_FAILED.format(of=of), values)
        count, _ = _insert(found)
    return Replayed(count, total - len(found))


def _find(condition: str, values: dict[str, Any]) -> tuple[list[int], int]:
    """Return the keys of what the condition finds and may be replayed, `MAX_AT_ONCE` at most, and how many there are.

    Those whose run is being deleted are left out, once that is done; the bodies of the others stay where they are.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FIND.format(condition=condition), {**values, "limit": MAX_AT_ONCE})
        rows = cursor.fetchall()
        if not rows:
            return [], 0
        cursor.execute(_KEEP, {"packs": sorted({pack for _, pack, _ in rows})})
        kept = {key for (key,) in cursor.fetchall()}
    return [key for key, pack, _ in rows if pack in kept], rows[0][2]


def _insert(found: list[int]) -> tuple[int, int]:
    """Replay these callbacks; return how many, and the key of the first."""
    if not found:
        return 0, 0
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, {"found": found})
        count, first, receiver_ids = cursor.fetchone()
    if count:
        receivers.wake(receiver_ids)
    return count, first


def _lock(workspace: Workspace) -> None:
    """Let one bulk of a workspace go on at once: two that run side by side would not see what the other replays."""
    if not try_lock(f"webhooks.replay:{workspace.pk}"):
        raise Conflict(
            "Another replay in bulk is under way. Try again shortly.",
            {"status": "IN_FLIGHT"},
            headers={"Retry-After": "1"},
        )


def _refusal(callback: Callback) -> Conflict | NotFound:
    status = Callback.objects.filter(pk=callback.pk).values_list("status", flat=True).first()
    if status is None:
        return NotFound("There is no such callback.", {"callback_uid": str(callback.uid)})
    return Conflict(
        f"The callback is {status}: it is still to arrive. It can be replayed once it is"
        f" {CallbackStatus.SUCCESS} or {CallbackStatus.FAILED}.",
        {"status": status},
    )
