"""Signatures by the Standard Webhooks specification, and the secrets they are made with (contract, section 3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from webhooks.models import SigningSecret

OVERLAP = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Secrets:
    secret: str = field(repr=False)
    previous_secret: str | None = field(repr=False)
    previous_expires_at: datetime | None


def secrets_of(workspace_id: int, *, now: datetime) -> Secrets:
    """Return the workspace's secrets, made when missing."""
    row, _ = SigningSecret.objects.get_or_create(
        workspace_id=workspace_id, defaults={"secret": _new(), "created_at": now}
    )
    if not row.previous_secret or row.previous_expires_at is None or row.previous_expires_at <= now:
        return Secrets(row.secret, None, None)
    return Secrets(row.secret, row.previous_secret, row.previous_expires_at)


def rotate(workspace_id: int, *, now: datetime) -> Secrets:
    """Make a new secret; the one before stays good for 24 hours."""
    before = secrets_of(workspace_id, now=now)
    SigningSecret.objects.filter(workspace_id=workspace_id).update(
        secret=_new(), previous_secret=before.secret, previous_expires_at=now + OVERLAP, created_at=now
    )
    return secrets_of(workspace_id, now=now)


def headers_for(secrets: Secrets, *, ref_uid: UUID, body: bytes, now: datetime) -> dict[str, str]:
    """Return webhook-id, webhook-timestamp and webhook-signature."""
    timestamp = str(int(now.timestamp()))
    signed = f"{ref_uid}.{timestamp}.".encode() + body
    good = [one for one in (secrets.secret, secrets.previous_secret) if one]
    return {
        "webhook-id": str(ref_uid),
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(one, signed)}" for one in good),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _new() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
