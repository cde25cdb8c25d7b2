"""One call of an action on one input, and what became of it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings

from actions import ActionDefinition, ActionError, Context, Retry
from actions.exceptions import backoff_s
from actions.limits import Limits
from actions.output import OutputLimits
from actions.problems import printable
from rest.errors import ApiError, BadInput, GenericError, TimedOut, stored_error
from runs.checkpoint import Outcome
from runs.timeouts import InputTimeout
from runs.uids import input_uid

log = structlog.get_logger(__name__)

MAX_MESSAGE_LENGTH = 2_000


@dataclass(frozen=True, slots=True)
class Call:
    """An action with all that is the same for every input of a batch."""

    definition: ActionDefinition
    limits: Limits
    parameters: Any
    max_results: int | None
    run_uid: uuid.UUID
    first_index: int
    identity_ids: tuple[str, ...] = ()
    identity_mode: str | None = None
    output_limits: OutputLimits = field(init=False)
    is_single: bool = field(init=False)
    takes_context: bool = field(init=False)

    def __post_init__(self) -> None:
        # What is the same for every input is worked out once: an input that takes no time is 10 us in all.
        signature = self.definition.signature
        object.__setattr__(self, "output_limits", _output_limits(self.max_results))
        object.__setattr__(self, "is_single", signature.output_kind == "single")
        object.__setattr__(self, "takes_context", signature.takes_context)

    def run(self, offset: int, line: bytes, attempt: int, guard: Callable[..., Any]) -> Outcome:
        """Call the action on an input, given as JSON. `guard(function, *arguments)` calls it within the time limit."""
        started_at = time.time()
        try:
            outputs = guard(self._outputs, line, offset, attempt, started_at)
        except BaseException as error:  # an action may raise anything, SystemExit too: it is its input's failure
            return self.failure(offset, attempt, started_at, error)
        return Outcome(offset, attempt, started_at, time.time(), outputs=outputs)

    async def run_async(self, offset: int, line: bytes, attempt: int) -> Outcome:
        """Call an `async def` action on an input, within the time limit."""
        started_at = time.time()
        limit = asyncio.timeout(self.limits.timeout_s)
        try:
            async with limit:
                outputs = await self._outputs_async(line, offset, attempt, started_at)
        except BaseException as error:
            return self.failure(offset, attempt, started_at, InputTimeout() if limit.expired() else error)
        return Outcome(offset, attempt, started_at, time.time(), outputs=outputs)

    def _context(self, offset: int, attempt: int, started_at: float) -> Context:
        return Context(
            run_uid=str(self.run_uid),
            input_index=self.first_index + offset,
            attempt=attempt,
            identity_ids=self.identity_ids,
            identity_mode=self.identity_mode,
            deadline_at=started_at + self.limits.timeout_s,
        )

    def _outputs(self, line: bytes, offset: int, attempt: int, started_at: float) -> list[bytes]:
        returned = self._called(line, offset, attempt, started_at)
        if self.is_single:
            return [self.definition.dump_output(returned, max_bytes=self.output_limits.max_bytes_each)]
        return self.definition.dump_outputs(returned, self.output_limits)

    async def _outputs_async(self, line: bytes, offset: int, attempt: int, started_at: float) -> list[bytes]:
        returned = self._called(line, offset, attempt, started_at)
        if self.is_single:
            return [self.definition.dump_output(await returned, max_bytes=self.output_limits.max_bytes_each)]
        return await self.definition.dump_outputs_async(returned, self.output_limits)

    def _called(self, line: bytes, offset: int, attempt: int, started_at: float) -> Any:
        context = self._context(offset, attempt, started_at) if self.takes_context else None
        return self.definition.call(self.definition.load_input(line), self.parameters, context)

    def failure(self, offset: int, attempt: int, started_at: float, error: BaseException) -> Outcome:
        """Return the outcome of a call that raised `error`: a retry where the action asked for one, else a failure."""
        finished_at = time.time()
        error_ref = str(input_uid(self.run_uid, self.first_index + offset))
        try:
            if isinstance(error, Retry) and attempt < self.limits.max_attempts:
                wait_s = backoff_s(attempt) if error.after_s is None else error.after_s
                return Outcome(offset, attempt, started_at, finished_at, retry_at=finished_at + wait_s)
            stored = self._told(error, attempt, error_ref)
        except Exception:  # a subclass of our errors that was never initialised, or changed since
            stored = None
        if stored is None:
            stored = self._unexpected(error, error_ref)
        else:
            log.info("input_failed", action=self.definition.name, label=stored["label"], error_ref=error_ref)
        return Outcome(offset, attempt, started_at, finished_at, error=stored)

    def _told(self, error: BaseException, attempt: int, error_ref: str) -> dict[str, Any] | None:
        """Return what the input keeps of an error that says itself what it is; None for any other."""
        match error:
            case ActionError():
                told = ActionError(error.label, error.message, error.params)  # checks what was changed since
                return input_error(told.label, told.message, params=told.params, error_ref=error_ref)
            case InputTimeout():
                timeout_s = self.limits.timeout_s
                message = f"The action took longer than its time limit of {timeout_s:g} s."
                return input_error(TimedOut.label, message, params={"timeout_s": timeout_s}, error_ref=error_ref)
            case Retry():
                message = f"Failed after {attempt} of {self.limits.max_attempts} attempts: {error}"
                return input_error(GenericError.label, message, params={"attempts": attempt}, error_ref=error_ref)
            case BadInput():
                # The type took the input when it was launched, and the code has changed since.
                return input_error(
                    error.label,
                    error.message,
                    scope=error.error_scope,
                    params=error.params,
                    error_ref=error_ref,
                    validation_errors=error.params.get("problems", []),
                )
            case ApiError():
                return input_error(error.label, error.message, params=error.params, error_ref=error_ref)
        return None

    def _unexpected(self, error: BaseException, error_ref: str) -> dict[str, Any]:
        log.error("action_failed", action=self.definition.name, error_ref=error_ref, exc_info=error)
        text = _text_of(error)
        message = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return input_error(GenericError.label, message, params={"type": type(error).__name__}, error_ref=error_ref)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # an exception whose own __str__ fails is still its input's failure, not the worker's
        return ""


def _output_limits(max_results: int | None) -> OutputLimits:
    return OutputLimits(
        max_items=settings.RUNYARD_MAX_OUTPUTS_PER_INPUT,
        max_bytes_each=settings.RUNYARD_MAX_OUTPUT_BYTES,
        max_bytes_total=settings.RUNYARD_MAX_OUTPUT_BYTES_PER_INPUT,
        max_results=max_results,
    )


def input_error_of(error: ApiError, error_ref: str) -> dict[str, Any]:
    """Return one of the API's errors as an input keeps it."""
    return input_error(error.label, error.message, scope=error.error_scope, params=error.params, error_ref=error_ref)


def input_error(
    label: str,
    message: str,
    *,
    scope: str = "action",
    params: dict[str, Any] | None = None,
    error_ref: str,
    validation_errors: list[Any] | None = None,
) -> dict[str, Any]:
    """Return an error as an input keeps it (contract section 2, `/inputs`)."""
    stored = stored_error(
        label, printable(message, MAX_MESSAGE_LENGTH), scope=scope, params=params, error_ref=error_ref
    )
    return stored | {"has_failed": True, "validation_errors": validation_errors or []}
