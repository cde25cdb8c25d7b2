"""What callbacks, receivers and secrets look like outside (contract, sections 3 and 5), type by type."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rest.one_of import OneOf
from webhooks.models import CallbackStatus, ReceiverStatus

HttpStatus = Annotated[int | None, Field(description="What was answered; null where no answer began.")]
HttpResponse = Annotated[str | None, Field(description="The first 2 KiB of the answer.")]
Failure = Annotated[str | None, Field(description="Why it counts as failed; null where it did not.")]


class Attempt(TypedDict):
    """What came of one POST."""

    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    http_status: HttpStatus
    http_response: HttpResponse
    duration_ms: Annotated[int, Field(ge=0)]
    error: Failure


class Callback(TypedDict):
    """A callback with the attempts made; HTTP status, answer and error are those of the last one. No headers."""

    uid: UUID
    parent_uid: Annotated[UUID | None, Field(description="The callback that this one replays.")]
    retry_count: Annotated[int, Field(ge=0)]
    created_at: datetime
    status: Annotated[str, OneOf(CallbackStatus)]
    callback_url: str
    http_status: HttpStatus
    http_response: HttpResponse
    batch_uid: UUID | None
    run_uid: UUID
    error: Failure
    workspace_uid: UUID
    callback_ref_uid: Annotated[UUID, Field(description="What the receiver knows it by: its replays have the same.")]
    next_attempt_at: datetime | None
    attempts: list[Attempt]


class ReplayedCallbacks(TypedDict):
    """How many were replayed, and how many more there are to replay: ask again for those."""

    count: Annotated[int, Field(ge=0)]
    remaining: Annotated[int, Field(ge=0)]


class Receiver(TypedDict):
    """A receiver, by its origin, and what waits for it."""

    origin: str
    status: Annotated[str, OneOf(ReceiverStatus)]
    success_rate: Annotated[float | None, Field(description="Of about the last hundred attempts; null before one.")]
    pending: Annotated[int, Field(ge=0)]
    oldest_pending_at: datetime | None
    paused_until: datetime | None
    last_error: str | None


class WebhookSecrets(TypedDict):
    """What callbacks are signed with; for a day after a rotation with the previous one too."""

    secret: str
    previous_secret: str | None
    previous_expires_at: datetime | None
