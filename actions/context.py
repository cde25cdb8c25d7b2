"""What an action is told about the call it is part of (contract section 7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog


@dataclass(frozen=True, slots=True)
class Context:
    """The call of an action on one input.

    `run_uid` and `input_index` (from 0) say which input; `attempt` counts from 1; `identity_ids` and
    `identity_mode` are what the launch sent, untouched (None: it sent none); `deadline_at` is when the call is
    killed, in seconds since the epoch. One is made for each input, so what costs time is made when asked for.
    """

    run_uid: str
    input_index: int = 0
    attempt: int = 1
    identity_ids: tuple[str, ...] = ()
    identity_mode: str | None = None
    deadline_at: float = float("inf")

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this input of this run: hand it to services that take such a key."""
        return f"{self.run_uid}-{self.input_index}"

    @property
    def deadline(self) -> datetime:
        """When the call is killed, in UTC."""
        if self.deadline_at == float("inf"):
            return datetime.max.replace(tzinfo=UTC)
        return datetime.fromtimestamp(self.deadline_at, UTC)

    @property
    def logger(self) -> Any:
        """A structlog logger that adds the run, the input and the attempt to each line."""
        return structlog.get_logger("runyard.action").bind(
            run_uid=self.run_uid, input_index=self.input_index, attempt=self.attempt
        )
