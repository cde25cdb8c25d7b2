"""Signatures by the Standard Webhooks specification, and the secrets they are made with (contract, section 3).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F

from webhooks.models import SigningSecret

PREFIX = "whsec_"
SECRET_BYTES = 32
OVERLAP = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a workspace signs with: the secret, and the one before while receivers may still know no other."""

    secret: str = field(repr=False)
    previous_secret: str | None = field(default=None, repr=False)
    previous_expires_at: datetime | None = None


def secrets_of(workspace_id: int, *, now: datetime) -> Secrets:
    """Return what a workspace signs with at `now`. Its first secret is made when it is first asked for."""
    made = {"secret": _new_secret(), "created_at": now}
    row, _ = SigningSecret.objects.get_or_create(pk=workspace_id, defaults=made)
    if not row.previous_secret or row.previous_expires_at is None or row.previous_expires_at <= now:
        return Secrets(row.secret)
    return Secrets(row.secret, row.previous_secret, row.previous_expires_at)


def rotate(workspace_id: int, *, now: datetime) -> Secrets:
    """Give a workspace a new secret, and return what it signs with. The old one stays good for 24 hours."""
    secrets_of(workspace_id, now=now)
    SigningSecret.objects.filter(pk=workspace_id).update(
        secret=_new_secret(), previous_secret=F("secret"), previous_expires_at=now + OVERLAP, created_at=now
    )
    return secrets_of(workspace_id, now=now)


def headers_for(secrets: Secrets, *, ref_uid: UUID, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers that let a receiver verify an attempt: one signature for each secret that is good."""
    message_id, timestamp = str(ref_uid), str(int(now.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    good = [secret for secret in (secrets.secret, secrets.previous_secret) if secret]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in good),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
