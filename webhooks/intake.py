"""Making callbacks: every one is born here, but for replays (`webhooks.replay`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection
from uuid_utils.compat import uuid7

from webhooks import bodies, receivers
from webhooks.models import BodyPack, CallbackStatus, Destination

PACKED_TOGETHER = 256  # more make a pack no smaller, and a sender unpacks more than it sends at once
BYTES_TOGETHER = 1024 * 1024

_COLUMNS = (
    "uid, ref_uid, workspace_id, receiver_id, destination_id, body_pack_id, body_position, run_uid, batch_uid,"
    " status, claim, worker, next_attempt_at, attempts, created_at"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A callback to be made: its body, JSON in one line, what receivers tell doubles by, and the batch it tells of."""

    body: bytes
    ref_uid: UUID
    batch_uid: UUID | None


def make(
    drafts: Iterable[Draft], *, destination: Destination, workspace_id: int, run_uid: UUID, created_at: datetime
) -> int:
    """Store a callback for each draft, due at once, and wake the receiver. Returns how many there were.

    In the caller's transaction, which should be short: nobody else adds to the receiver until it ends.
    """
    count = 0
    for together in _packs(drafts):
        pack = BodyPack.objects.create(run_uid=run_uid, bodies=bodies.pack(draft.body for draft in together))
        with connection.cursor() as cursor, cursor.copy(f"COPY webhooks_callback ({_COLUMNS}) FROM STDIN") as copy:
            for position, draft in enumerate(together):
                copy.write_row((
                    uuid7(), draft.ref_uid, workspace_id, destination.receiver_id, destination.pk, pack.pk, position,
                    run_uid, draft.batch_uid, CallbackStatus.PENDING.value, 0, "", created_at, "[]", created_at,
                ))  # fmt: skip
        count += len(together)
    if count:
        receivers.wake([destination.receiver_id])
    return count


def _packs(drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
    together: list[Draft] = []
    size = 0
    for draft in drafts:
        if together and (len(together) == PACKED_TOGETHER or size + len(draft.body) > BYTES_TOGETHER):
            yield together
            together, size = [], 0
        together.append(draft)
        size += len(draft.body)
    if together:
        yield together
