"""One attempt to deliver a callback: one POST through egress."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from egress import EgressError, fetch
from rest.json import rfc3339
from webhooks import signing
from webhooks.policy import policy
from webhooks.signing import Secrets

KEPT_BYTES = 2 * 1024


@dataclass(frozen=True, slots=True)
class Attempt:
    at: datetime
    http_status: int | None
    http_response: str | None
    duration_ms: int
    error: str | None
    retry_after_s: float | None = None

    def shown(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "at": rfc3339(self.at),
            "http_status": self.http_status,
            "http_response": self.http_response,
            "duration_ms": self.duration_ms,
            "error": self.error,
        }


def attempt(
    destination_url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    ref_uid: UUID,
    secrets: Secrets,
    now: datetime,
    timeout_s: float = 15.0,
) -> Attempt:
    """POST a body and return what came of it."""
    sent = [
        *headers,
        ("Content-Type", "application/json"),
        *signing.headers_for(secrets, ref_uid=ref_uid, body=body, now=now).items(),
    ]
    began = time.monotonic()
    status, response, error = None, None, None
    try:
        answer = fetch(
            "POST",
            destination_url,
            policy=policy(),
            headers=sent,
            body=body,
            timeout_s=timeout_s,
            max_bytes=KEPT_BYTES,
            truncate=True,
            decompress=False,
        )
        status, response = answer.status, answer.body.decode(errors="replace").replace("\0", "\ufffd")
        if not 200 <= status < 300:
            error = f"The receiver answered {status}."
    except EgressError as failure:
        error = f"{failure.code}: {failure.message}"
    return Attempt(now, status, response, round((time.monotonic() - began) * 1000), error)
