"""The error body of the contract, section 0: one shape for every failure.

The same body answers a request and is kept on a run or an input, so this module knows neither DRF nor HTTP
beyond a status code. Raise one of the classes below anywhere; `rest.exception_handler` turns it into an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, cast

from pydantic import Field
from typing_extensions import TypedDict

Message = Annotated[str, Field(description="What is wrong, in words a caller can act on: the field, and why.")]
Label = Annotated[str, Field(description="What is wrong, for programs: `BAD_INPUT`, or a label of the action's own.")]
Scope = Annotated[
    str,
    Field(
        description="Whose matter it is: `input`, `parameters`, `access`, `limit`, `action`, `run` or `server`.",
    ),
]
Params = Annotated[dict[str, Any], Field(description="Details for programs: field paths, limits, allowed values.")]


class Error(TypedDict):
    """The body of every answer that is not 2xx."""

    message: Message
    error_label: Label
    error_scope: Scope
    status_code: int
    params: Params
    error_ref: Annotated[str, Field(description="The request's id, or a reference found in the logs.")]


class StoredError(TypedDict):
    """An error as a run or a schedule keeps it."""

    label: Label
    error_label: Annotated[str, Field(description="The same again.")]
    message: Message
    scope: Scope
    params: Params
    error_ref: Annotated[str, Field(description="A reference found in the logs.")]


class ApiError(Exception):
    """A failure told to the caller.

    `message` names the field and the reason in words a caller can act on; `params` carries the machine-readable
    details (field paths, limits, allowed values); `headers` go with the answer.
    """

    label: ClassVar[str] = "INTERNAL_ERROR"
    status_code: ClassVar[int] = 500
    scope: ClassVar[str] = "server"
    default_message: ClassVar[str] = "Something went wrong on our side."

    def __init__(
        self,
        message: str = "",
        params: Mapping[str, Any] | None = None,
        *,
        scope: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or self.default_message
        self.params = dict(params or {})
        self.error_scope = scope or self.scope
        self.headers = dict(headers or {})
        super().__init__(self.message)

    def body(self, error_ref: str) -> Error:
        """Return the contract's error body, with `error_ref` as the reference found in the logs."""
        return error_body(
            self.label,
            self.message,
            scope=self.error_scope,
            status_code=self.status_code,
            params=self.params,
            error_ref=error_ref,
        )


def error_body(
    label: str,
    message: str,
    *,
    scope: str,
    status_code: int,
    params: Mapping[str, Any] | None = None,
    error_ref: str = "",
) -> Error:
    """Return the six fields of every non-2xx answer (contract section 0)."""
    return {
        "message": message,
        "error_label": label,
        "error_scope": scope,
        "status_code": status_code,
        "params": dict(params or {}),
        "error_ref": error_ref,
    }


def stored_error(
    label: str, message: str, *, scope: str, params: Mapping[str, Any] | None = None, error_ref: str = ""
) -> dict[str, Any]:
    """Return an error as a run or an input keeps it: `label` stands beside `error_label`, clients read either."""
    error: StoredError = {
        "label": label,
        "error_label": label,
        "message": message,
        "scope": scope,
        "params": dict(params or {}),
        "error_ref": error_ref,
    }
    return cast(dict[str, Any], error)


class BadInput(ApiError):
    label, status_code, scope = "BAD_INPUT", 400, "input"
    default_message = "The request body is not what this endpoint takes."


class BadParameters(ApiError):
    label, status_code, scope = "BAD_PARAMETERS", 400, "parameters"
    default_message = "A parameter is not what this endpoint takes."


class Unauthorized(ApiError):
    label, status_code, scope = "UNAUTHORIZED", 401, "access"
    default_message = "Send a valid key in the X-API-Key header."

    def __init__(self, message: str = "", params: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, params, headers={"WWW-Authenticate": 'Bearer realm="runyard"'})


class NoAccess(ApiError):
    label, status_code, scope = "NO_ACCESS", 403, "access"
    default_message = "This key may not do that."


class NotFound(ApiError):
    label, status_code, scope = "NOT_FOUND", 404, "input"
    default_message = "There is nothing here."


class MethodNotAllowed(ApiError):
    label, status_code, scope = "METHOD_NOT_ALLOWED", 405, "input"
    default_message = "This path does not take that method."


class Conflict(ApiError):
    label, status_code, scope = "CONFLICT", 409, "run"
    default_message = "The state does not allow it."


class PayloadTooLarge(ApiError):
    label, status_code, scope = "PAYLOAD_TOO_LARGE", 413, "limit"
    default_message = "The body is too large."


class UnsupportedMediaType(ApiError):
    label, status_code, scope = "UNSUPPORTED_MEDIA_TYPE", 415, "input"
    default_message = "Send the body as application/json."


class IdempotencyMismatch(ApiError):
    label, status_code, scope = "IDEMPOTENCY_MISMATCH", 422, "input"
    default_message = "This Idempotency-Key was used with another body."


class RateLimited(ApiError):
    label, status_code, scope = "STATUS_429", 429, "limit"
    default_message = "Too many requests."


class LimitReached(ApiError):
    label, status_code, scope = "LIMIT_REACHED", 429, "limit"
    default_message = "A quota is used up."


class GenericError(ApiError):
    label, status_code, scope = "GENERIC_ERROR", 424, "action"
    default_message = "The action failed."


class TimedOut(ApiError):
    label, status_code, scope = "TIMEOUT", 504, "action"
    default_message = "The action took longer than its time limit."


class WorkerLost(ApiError):
    label, status_code, scope = "WORKER_LOST", 424, "action"
    default_message = "The worker that executed this input died."


class BadOutput(ApiError):
    label, status_code, scope = "BAD_OUTPUT", 424, "action"
    default_message = "The action returned something that is not JSON."


class InternalError(ApiError):
    pass


class Unavailable(ApiError):
    label, status_code, scope = "UNAVAILABLE", 503, "server"
    default_message = "The service cannot take this request now. Try again shortly."

    def __init__(self, message: str = "", params: Mapping[str, Any] | None = None, *, retry_after_s: int = 1) -> None:
        super().__init__(message, params, headers={"Retry-After": str(retry_after_s)})


RESERVED_LABELS: frozenset[str] = frozenset(cls.label for cls in ApiError.__subclasses__()) | {
    "TOO_MANY_FAILURES",
    "DEPENDENCY_FAILED",
    "ACTION_PAUSED",
    "ACTION_SWITCHED_OFF",
}
"""Labels an action's own error may not use."""
