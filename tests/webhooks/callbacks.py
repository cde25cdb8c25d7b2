"""Callbacks as they are stored once they are made, sent or given up."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.utils import timezone

from tests.factories import Member
from webhooks import receivers
from webhooks.models import BodyPack, Callback, CallbackStatus, Destination

URL = "https://hooks.example/in"
AT = "2026-01-31T08:00:00.123456Z"


def attempt(status: int | None = 500, **fields: Any) -> dict[str, Any]:
    """Return an attempt as it is kept."""
    told = None if status and 200 <= status < 300 else "The receiver did not take it."
    made = {"at": AT, "http_status": status, "http_response": "", "duration_ms": 5, "error": told}
    return {**made, **fields}


def destination(by: Member, *, url: str = URL, headers: dict[str, str] | None = None) -> Destination:
    """Store where a launch had its callbacks sent."""
    origin = "/".join(url.split("/")[:3])
    return Destination.objects.create(
        receiver=receivers.receiver_of(by.workspace, origin),
        url=url,
        headers=[[name, value] for name, value in (headers or {}).items()],
        created_at=timezone.now(),
    )


def callback(
    by: Member,
    status: str = CallbackStatus.FAILED,
    *,
    to: Destination | None = None,
    run_uid: UUID | None = None,
    created_at: datetime | None = None,
    **fields: Any,
) -> Callback:
    """Store a callback; one that is done has been tried once."""
    to = to or destination(by)
    run_uid = run_uid or uuid4()
    tried = {CallbackStatus.FAILED: [attempt()], CallbackStatus.SUCCESS: [attempt(200)]}
    made = {
        "ref_uid": uuid4(),
        "attempts": tried.get(CallbackStatus(status), []),
        "claim": int(status != CallbackStatus.PENDING),
        "next_attempt_at": timezone.now() if status == CallbackStatus.PENDING else None,
    }
    return Callback.objects.create(
        workspace=by.workspace,
        receiver=to.receiver,
        destination=to,
        body_pack=BodyPack.objects.create(run_uid=run_uid, bodies=b"packed"),
        body_position=7,
        run_uid=run_uid,
        status=status,
        created_at=created_at or timezone.now(),
        **{**made, **fields},
    )
