"""What callbacks, receivers and secrets look like outside, and the bodies of what is asked of them (section 3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from rest_framework import serializers

from rest.errors import BadInput
from rest.strict import StrictBody, Time, Uid, read_strictly
from webhooks import representations
from webhooks.backlogs import Backlog
from webhooks.models import Callback, Receiver
from webhooks.representations import Attempt, WebhookSecrets
from webhooks.signing import Secrets


class RotationBody(StrictBody):
    """Whether a secret that is still good may be ended by it."""

    force: bool = False


class BulkReplayBody(StrictBody):
    """Which failed callbacks to replay: those of a run, or those created after a time."""

    status: Literal["FAILED"]
    run_uid: Uid | None = None
    created_after: Time | None = None


class TrialBody(StrictBody):
    """Where to send a test, with headers as a launch has them."""

    url: str
    headers: dict[str, Any] = {}


def read_bulk_replay_body(body: Any) -> tuple[UUID | None, datetime | None]:
    """Return the run, or else the time, that a bulk replay names.

    Raises:
        BadInput: the body is not an object, a field is unknown, missing or not what it takes, or both are named.
    """
    read = read_strictly(body, BulkReplayBody, "a bulk replay")
    if (read.run_uid is None) == (read.created_after is None):
        raise BadInput("run_uid: send this or created_after, one of the two.", {"field": "run_uid"})
    return read.run_uid, read.created_after


class CallbackSerializer(serializers.BaseSerializer[Callback]):
    """A callback with the attempts made; HTTP status, answer and error are those of the last one. No headers."""

    def to_representation(self, callback: Callback) -> representations.Callback:
        attempts = callback.attempts
        last = attempts[-1] if attempts else {}
        return {
            "uid": callback.uid,
            "parent_uid": callback.parent_uid,
            "retry_count": max(0, len(attempts) - 1),
            "created_at": callback.created_at,
            "status": callback.status,
            "callback_url": callback.destination.url,
            "http_status": last.get("http_status"),
            "http_response": last.get("http_response"),
            "batch_uid": callback.batch_uid,
            "run_uid": callback.run_uid,
            "error": last.get("error"),
            "workspace_uid": callback.workspace.uid,
            "callback_ref_uid": callback.ref_uid,
            "next_attempt_at": callback.next_attempt_at,
            "attempts": [_attempt(one) for one in attempts],
        }


def _attempt(kept: dict[str, Any]) -> Attempt:
    return {
        "at": kept["at"],
        "http_status": kept.get("http_status"),
        "http_response": kept.get("http_response"),
        "duration_ms": kept["duration_ms"],
        "error": kept.get("error"),
    }


class ReceiverSerializer(serializers.BaseSerializer[Receiver]):
    """A receiver and what waits for it; the context's `backlogs` has that by receiver."""

    def to_representation(self, receiver: Receiver) -> representations.Receiver:
        backlog: Backlog = self.context["backlogs"].get(receiver.pk, Backlog())
        return {
            "origin": receiver.origin,
            "status": receiver.status,
            "success_rate": receiver.success_rate,
            "pending": backlog.pending,
            "oldest_pending_at": backlog.oldest_pending_at,
            "paused_until": receiver.paused_until,
            "last_error": receiver.last_error or None,
        }


def shown_secrets(secrets: Secrets) -> WebhookSecrets:
    """Return a workspace's secrets, for its administrators; there is a previous one for a day after a rotation."""
    return {
        "secret": secrets.secret,
        "previous_secret": secrets.previous_secret or None,
        "previous_expires_at": secrets.previous_expires_at,
    }
