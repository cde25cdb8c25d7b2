"""Launching once, however often it is asked: the header `Idempotency-Key` (contract section 0).

What a key stands for is written in the transaction that stores the run or schedule, so a crash leaves both or neither.
Who is first holds a lock until that commit: the others are told to come again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction

from rest.body import body_hash
from rest.database import try_lock
from rest.errors import BadInput, Conflict, IdempotencyMismatch
from rest.json import RawJSON
from workspaces.authentication import caller_of
from workspaces.models import IdempotencyKey

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.response import Response

HEADER = "Idempotency-Key"
KEPT_FOR = timedelta(hours=24)
FORGOTTEN_AT_ONCE = 10_000  # every 10 s, so that a thousand launches a second leave no more than a day's keys
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class Claim:
    """One request with a key: whose it is, to which endpoint, and the hash of its body."""

    membership_id: int
    endpoint: str
    key: str
    body_hash: bytes
    now: datetime


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first request with a key stored, and was answered.

    `uid` is the run's or schedule's. Without a `body` the answer is read again from what `uid` names.
    """

    uid: UUID
    status_code: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_replay: bool = False


def read_claim(request: Request, endpoint: str, *, now: datetime) -> Claim | None:
    """Return the request's claim, its body read already; None where it sends no key.

    `endpoint` names what is asked for, the same for all paths that do the same.

    Raises:
        BadInput: the key is not 1 to 255 visible ASCII characters.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.match(key):
        raise BadInput(
            f"{HEADER}: a key is 1 to 255 visible ASCII characters, without spaces.",
            {"header": HEADER, "max_length": 255},
        )
    return Claim(caller_of(request).key.membership_id, endpoint, key, body_hash(request._request), now)


def find(claim: Claim) -> FirstAnswer | None:
    """Return what an earlier request with the same key was answered; None where there was none within 24 hours.

    Raises:
        IdempotencyMismatch: its body was another.
    """
    since = claim.now - KEPT_FOR
    kept = IdempotencyKey.objects.filter(**_of(claim), created_at__gt=since).first()
    if kept is None:
        return None
    if bytes(kept.body_hash) != claim.body_hash:
        raise IdempotencyMismatch(params={"header": HEADER, "first_used_at": kept.created_at})
    return FirstAnswer(kept.stored_uid, kept.status_code, kept.headers, bytes(kept.body), is_replay=True)


def once(claim: Claim | None, store: Callable[[], FirstAnswer]) -> FirstAnswer:
    """Return what `store` does, or what it did for an earlier request with the same key.

    `store` is called in a transaction, in which the key is kept with it; without a claim it is just called.

    Raises:
        Conflict: the first request is still in flight.
        IdempotencyMismatch: its body was another.
    """
    if claim is None:
        return store()
    with transaction.atomic():
        if not _lock(claim):
            raise in_flight()
        earlier = find(claim)
        if earlier is not None:
            return earlier
        first = store()
        _keep(claim, first)
    return first


def in_flight() -> Conflict:
    """Return the error for a request whose first one is not answered yet."""
    return Conflict(
        f"The first request with this {HEADER} is still in flight. Its answer will be yours: ask again shortly.",
        {"header": HEADER, "status": "IN_FLIGHT"},
        headers={"Retry-After": "1"},
    )


def forget(stored_uid: UUID) -> None:
    """Forget the key of a run that was taken back: its request was answered as if it had never been."""
    IdempotencyKey.objects.filter(stored_uid=stored_uid).delete()


def forget_old(*, now: datetime) -> int:
    """Delete keys that are older than 24 hours, some thousand at a time. Returns how many."""
    old = IdempotencyKey.objects.filter(created_at__lte=now - KEPT_FOR).order_by("created_at")
    deleted, _ = IdempotencyKey.objects.filter(pk__in=old.values("pk")[:FORGOTTEN_AT_ONCE]).delete()
    return deleted


def response_of(first: FirstAnswer) -> Response:
    """Return what the first request was answered, which says so when it is answered again."""
    from rest_framework.response import Response  # for views alone: workers, which delete keys, need no DRF

    headers = {**first.headers, **replay_headers(first.is_replay)}
    return Response(RawJSON(first.body), status=first.status_code, headers=headers)


def replay_headers(is_replay: bool) -> dict[str, str]:
    """Return the header that says that an answer is an earlier one again."""
    return {"Idempotency-Replayed": "true"} if is_replay else {}


def _of(claim: Claim) -> dict[str, object]:
    return {"membership": claim.membership_id, "endpoint": claim.endpoint, "key": claim.key}


def _lock(claim: Claim) -> bool:
    """Lock the key until the transaction ends. Returns False where another request holds it."""
    return try_lock(f"{claim.membership_id}:{claim.endpoint}:{claim.key}")


def _keep(claim: Claim, first: FirstAnswer) -> None:
    IdempotencyKey.objects.filter(**_of(claim)).delete()  # one that is too old
    IdempotencyKey.objects.create(
        membership_id=claim.membership_id,
        endpoint=claim.endpoint,
        key=claim.key,
        body_hash=claim.body_hash,
        stored_uid=first.uid,
        status_code=first.status_code,
        headers=dict(first.headers),
        body=first.body,
        created_at=claim.now,
    )
