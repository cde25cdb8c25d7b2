"""One attempt to deliver a callback: one POST, and what came of it (contract, section 3)."""

from __future__ import annotations

import codecs
import functools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from egress import Answer, Client, EgressError, Policy
from rest.json import rfc3339
from telemetry import tracing
from webhooks import representations, retries, signing
from webhooks.policy import policy
from webhooks.signing import Secrets

TIMEOUT_S = 15.0
TAKEN_BYTES = 64 * 1024  # of an answer, so that the connection of most can be used again
KEPT_BYTES = 2 * 1024
GONE = 410


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one POST.

    `http_status` is None where no answer began, and `http_response` also where it broke off or was late: then there are
    both a status, 200 even, and an error.
    """

    at: datetime
    http_status: int | None
    http_response: str | None
    duration_ms: int
    error: str | None
    retry_after_s: float | None = None

    @property
    def is_success(self) -> bool:
        return self.error is None

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants this callback never again."""
        return self.http_status == GONE

    def shown(self) -> representations.Attempt:
        """Return it as the API shows it, in JSON values."""
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
    timeout_s: float = TIMEOUT_S,
) -> Attempt:
    """POST a body to a URL, signed, and return what came of it within `timeout_s`, whatever that is."""
    given = list(headers)
    parent = next((tracing.well_formed(value) for name, value in given if name.lower() == tracing.HEADER), "")
    with tracing.span("callback", "client", parent=parent, **{"runyard.callback_ref_uid": str(ref_uid)}) as span:
        if span is not None:
            given = [pair for pair in given if pair[0].lower() != tracing.HEADER]
            given.append((tracing.HEADER, tracing.current()))
        made = _attempt(destination_url, given, body, ref_uid=ref_uid, secrets=secrets, now=now, timeout_s=timeout_s)
        if span is not None and made.http_status is not None:
            span.set_attribute("http.response.status_code", made.http_status)
        return made


def _attempt(
    destination_url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    ref_uid: UUID,
    secrets: Secrets,
    now: datetime,
    timeout_s: float,
) -> Attempt:
    sent = [
        *headers,
        ("Content-Type", "application/json"),
        *signing.headers_for(secrets, ref_uid=ref_uid, body=body, now=now).items(),
    ]
    began = time.monotonic()
    answer: Answer | None = None
    status: int | None = None
    try:
        answer = client(policy()).fetch(
            "POST", destination_url, headers=sent, body=body,
            timeout_s=timeout_s, max_bytes=TAKEN_BYTES, truncate=True, decompress=False, may_repeat=True,
        )  # fmt: skip
        error = _error_of(answer.status)
    except EgressError as failure:
        status, error = failure.status, failure.message
    duration_ms = round((time.monotonic() - began) * 1000)
    if answer is None:
        return Attempt(now, status, None, duration_ms, error)
    answered_at = now + timedelta(milliseconds=duration_ms)
    asked = retries.retry_after_s(answer.header("retry-after"), now=answered_at) if error else None
    return Attempt(now, answer.status, text_of(answer.body), duration_ms, error, asked)


@functools.lru_cache(maxsize=4)  # the settings change in tests only
def client(policy: Policy) -> Client:
    """Return the client that all threads of this process share, with the connections it keeps."""
    return Client(policy)


def text_of(body: bytes) -> str:
    """Return the first 2 KiB of an answer as text that jsonb takes: NUL, and what is not UTF-8, are replaced."""
    # A character that the cut goes through is left out, rather than replaced.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return decoder.decode(body[:KEPT_BYTES], final=len(body) <= KEPT_BYTES).replace("\0", "\ufffd")


def _error_of(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The receiver answered {status}: redirects are not followed."
    if status == GONE:
        return f"The receiver answered {status}: it wants this callback no more."
    return f"The receiver answered {status}."
