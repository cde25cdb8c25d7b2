"""Making callbacks of bodies: each body is stored once, packed with others."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from webhooks.models import BodyPack, Callback, Destination

PACKED_TOGETHER, BYTES_TOGETHER = 200, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Draft:
    """A callback to be made: its body, JSON in one line, and the uids it goes under."""

    body: bytes
    ref_uid: UUID
    batch_uid: UUID | None


def make(
    drafts: Iterable[Draft], *, destination: Destination, workspace_id: int, run_uid: UUID, created_at: datetime
) -> int:
    """Store a callback for each draft, due now, in the caller's transaction. Returns how many there were."""
    count = 0
    for some in _together(drafts):
        pack = BodyPack.objects.create(run_uid=run_uid, bodies=zlib.compress(b"\n".join(one.body for one in some), 1))
        Callback.objects.bulk_create(
            Callback(
                ref_uid=one.ref_uid,
                workspace_id=workspace_id,
                receiver_id=destination.receiver_id,
                destination=destination,
                body_pack=pack,
                body_position=position,
                run_uid=run_uid,
                batch_uid=one.batch_uid,
                next_attempt_at=created_at,
                created_at=created_at,
            )
            for position, one in enumerate(some)
        )
        count += len(some)
    return count


def _together(drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
    some: list[Draft] = []
    size = 0
    for draft in drafts:
        if some and (len(some) == PACKED_TOGETHER or size + len(draft.body) > BYTES_TOGETHER):
            yield some
            some, size = [], 0
        some.append(draft)
        size += len(draft.body)
    if some:
        yield some
