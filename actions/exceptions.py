"""What an action raises to say how an input ended, and what a badly written action is told at the start."""

from __future__ import annotations

import math
import random as random_module
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from pydantic_core import from_json

from actions.labels import check_label
from actions.output import ANY_JSON
from actions.problems import printable
from rest.errors import BadOutput

MAX_AFTER_S = 366 * 24 * 3600
MAX_MESSAGE_LENGTH = 2_000
MAX_PARAMS_BYTES = 16 * 1024
BACKOFF_BASE_S = 2.0
BACKOFF_CAP_S = 900.0


class ActionDefinitionError(ImproperlyConfigured):
    """An action is written in a way that cannot work; the message says what to change. Stops the start."""


class ActionError(Exception):
    """Fails the input, for a reason its caller can act on (contract section 7).

    `label` is the machine-readable reason: 1 to 64 of `A-Z`, `0-9` and `_`, and none of the labels that Runyard
    itself uses (`rest.errors.RESERVED_LABELS`). `message` is for people; `params` is a JSON object of up to 16 KiB with
    details.

    Raises:
        ValueError: the label is malformed or reserved, or `params` is not JSON. Inside an action this fails the
            input as `GENERIC_ERROR`, with the message that says what to change.
    """

    def __init__(self, label: str, message: str, params: Mapping[str, Any] | None = None) -> None:
        self.label = check_label(label)
        self.message = printable(str(message), MAX_MESSAGE_LENGTH)
        self.params = _json_object(label, params or {})
        super().__init__(label, message, params)

    def __str__(self) -> str:
        return f"{self.label}: {self.message}"


class Retry(Exception):
    """Tries the input again later, while attempts are left (`max_attempts`); no worker is held meanwhile.

    `after_s` is the wait in seconds, 0 to 366 days; None leaves it to an exponential backoff with jitter
    (`backoff_s`). `reason` is what the input's error says when no attempt is left.

    Raises:
        ValueError: `after_s` is not a number in that range.
    """

    def __init__(self, after_s: float | None = None, reason: str = "") -> None:
        if after_s is not None and not _is_number_between(after_s, 0, MAX_AFTER_S):
            raise ValueError(f"Retry(after_s=...) takes a number of seconds from 0 to {MAX_AFTER_S}, not {after_s!r}")
        self.after_s = after_s
        self.reason = printable(str(reason), MAX_MESSAGE_LENGTH)
        super().__init__(after_s, reason)

    def __str__(self) -> str:
        return self.reason or "the action asked to be tried again later"


def backoff_s(attempt: int, *, random: Callable[[], float] = random_module.random) -> float:
    """Return the seconds to wait after `attempt` (from 1) failed: 2, 4, 8 ... up to 15 minutes.

    Each wait is drawn from the upper half of its step, so that inputs that failed together do not come back
    together, and never at once. `random` returns a number in [0, 1).
    """
    doublings = min(max(attempt, 1) - 1, 32)
    step: float = min(BACKOFF_BASE_S * 2**doublings, BACKOFF_CAP_S)
    return step * (1 + random()) / 2


def _is_number_between(value: object, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and low <= value <= high


def _json_object(label: str, params: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(from_json(ANY_JSON.dump(dict(params), max_bytes=MAX_PARAMS_BYTES)))
    except (BadOutput, TypeError, ValueError) as error:
        raise ValueError(f"ActionError({label!r}): params must be a JSON object: {error}") from None
