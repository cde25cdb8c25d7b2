"""Sending again what has been sent: a new callback with the body and the `ref_uid` of one that is done (section 3).

A receiver tells doubles by `callback_ref_uid`, so it takes a replay for what it has, if it has it. Whoever asks for one
callback gets one, delivered before or not. In bulk each failed callback is replayed once: a replay that failed as well
is itself the one to replay next. So asking twice doubles nothing.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from rest.errors import Conflict, NotFound
from webhooks import receivers
from webhooks.models import Callback, CallbackStatus
from workspaces.models import Workspace

MAX_AT_ONCE = 200_000
"""Of a bulk, oldest first: more than one run has, and some seconds of work. Asking again replays the next."""

# A UUID of version 7: its time in milliseconds over the random bits of one of version 4, whose version becomes 7.
_UUID7 = """encode(set_bit(set_bit(overlay(
    uuid_send(gen_random_uuid())
    placing substring(int8send(floor(extract(epoch FROM moment) * 1000)::bigint) FROM 3) FROM 1 FOR 6
), 52, 1), 53, 1), 'hex')::uuid"""

_COPIED = "ref_uid, workspace_id, receiver_id, destination_id, body_pack_id, body_position, run_uid, batch_uid"
_FOUND = f"FROM webhooks_callback WHERE {{condition}} ORDER BY created_at, id LIMIT {MAX_AT_ONCE}"
# Who deletes a run's callbacks deletes its packs first: those that are kept here stay until the replays are committed.
_KEEP = f"""
SELECT id FROM webhooks_bodypack WHERE id IN (SELECT body_pack_id {_FOUND}) ORDER BY id FOR KEY SHARE
"""
_INSERT = f"""
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS moment), replayed AS (
    INSERT INTO webhooks_callback
        (uid, parent_uid, {_COPIED}, status, claim, worker, next_attempt_at, attempts, created_at)
    SELECT {_UUID7}, uid, {_COPIED}, 'PENDING', 0, '', moment, '[]', moment
      FROM (SELECT uid, {_COPIED} {_FOUND}) AS found, clock
     WHERE body_pack_id = ANY(%(kept)s)
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
        count, key = _insert(_ONE, {"callback": callback.pk})
        if not count:
            raise _refusal(callback)
        return Callback.objects.with_url().get(pk=key)


def replay_failed(workspace: Workspace, *, run_uid: UUID | None = None, created_after: datetime | None = None) -> int:
    """Replay the failed callbacks of a run, or else those created after a time, that have no replay yet.

    Returns how many; of more than `MAX_AT_ONCE` the oldest.

    Raises:
        Conflict: another bulk of the workspace is under way.
    """
    of = _OF_RUN if run_uid else _CREATED_AFTER
    values = {"workspace": workspace.pk, "run_uid": run_uid, "created_after": created_after}
    with transaction.atomic():
        _lock(workspace)
        count, _ = _insert(_FAILED.format(of=of), values)
    return count


def _insert(condition: str, values: dict[str, Any]) -> tuple[int, int]:
    """Replay what the condition finds; return how many, and the key of the first."""
    with connection.cursor() as cursor:
        cursor.execute(_KEEP.format(condition=condition), values)
        kept = [key for (key,) in cursor.fetchall()]
        cursor.execute(_INSERT.format(condition=condition), {**values, "kept": kept})
        count, first, receiver_ids = cursor.fetchone()
    if count:
        receivers.wake(receiver_ids)
    return count, first


def _lock(workspace: Workspace) -> None:
    """Let one bulk of a workspace go on at once: two that run side by side would not see what the other replays."""
    name = f"webhooks.replay:{workspace.pk}".encode()
    number = int.from_bytes(hashlib.sha256(name).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        if not cursor.fetchone()[0]:
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
