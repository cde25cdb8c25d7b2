"""What runs, their inputs and callbacks look like outside (contract sections 1 to 3), type by type."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NotRequired
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rest.errors import StoredError
from rest.one_of import OneOf
from runs.input_states import STATUSES
from runs.models import Actor, CallbackOn, CallbackPer, ExecutionMode, RunStatus

Status = Annotated[str, OneOf(RunStatus)]
InputStatus = StrEnum("InputStatus", [(status, status) for status in STATUSES])  # type: ignore[misc]
Count = Annotated[int, Field(ge=0)]
Progress = Annotated[float, Field(ge=0, le=1, description="The part of the inputs that have a result.")]
AnyObject = dict[str, Any]


class CallbackSettings(TypedDict):
    """What is called back, and where. Headers are never shown."""

    url: str
    on: Annotated[str, OneOf(CallbackOn)]
    per: Annotated[str, OneOf(CallbackPer)]


class Counts(TypedDict):
    """A run's numbers."""

    input_count: Count
    succeeded_count: Count
    failed_count: Count
    invalid_count: Count
    progress: Progress


class Run(Counts):
    """A run. `updated_at` is the last change of its status or settings; counts move without it."""

    id: int
    uid: UUID
    name: str
    action_id: int
    action_name: str
    retry_count: Count
    user_uid: UUID
    workspace_uid: UUID
    execution_mode: Annotated[str, OneOf(ExecutionMode)]
    last_error: StoredError | None
    parameters: AnyObject
    callback: CallbackSettings | None
    status: Status
    output_count: Count
    scheduled_run_uid: Annotated[UUID | None, Field(description="The schedule that launched it.")]
    scheduled_run_name: str | None
    postponed_until: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime
    tags: list[str]
    depends_on: Annotated[list[UUID], Field(description="The runs it waits for.")]


class RunProgress(Counts):
    """A run's status and counts: cheap enough to poll."""

    id: int
    uid: UUID
    status: Status
    postponed_until: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime
    output_count: Count
    retry_count: Count


class LaunchedRun(TypedDict):
    """A run that was just stored."""

    run_id: int
    run_uid: UUID
    workspace_uid: UUID
    user_uid: UUID
    action_name: str
    status: Status
    postponed_until: datetime | None
    created_at: datetime
    updated_at: datetime
    execution_mode: Annotated[str, OneOf(ExecutionMode)]
    input_count: Count
    invalid_count: Annotated[int, Field(ge=0, description="Inputs that do not fit the action: they are not executed.")]


class RunTransition(TypedDict):
    """One line of a run's timeline."""

    at: datetime
    from_status: Status | None
    to_status: Status
    actor: Annotated[str, OneOf(Actor)]
    actor_uid: UUID | None
    reason: str


class InputError(StoredError):
    """Why an input failed."""

    has_failed: bool
    validation_errors: list[Any]


class InputState(TypedDict):
    """What became of an input so far."""

    status: Annotated[str, OneOf(InputStatus)]
    last_error: InputError | None
    output_count: Count
    retry_count: Count
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RunInput(InputState):
    """An input of a run. `input_data` is null where it was too large to be kept."""

    uid: UUID
    index: Annotated[int, Field(ge=0, description="Its place in the run, from 0.")]
    input_data: Any
    custom_data: AnyObject | None
    created_at: datetime


class CallbackRun(TypedDict):
    """Which run a callback tells of. `batch_uid` is null in the one of its end."""

    run_uid: UUID
    batch_uid: UUID | None
    status: Status


class CallbackItem(TypedDict):
    """An input of a batch, with its results or its error."""

    index: Count
    input: Any
    custom_data: AnyObject | None
    results: list[Any]
    error: InputError | None


class InputCallback(TypedDict):
    """What is POSTed to you for an input, and at the end of a run, then without input and results."""

    callback_ref_uid: Annotated[UUID, Field(description="The same whenever it is sent again: also `webhook-id`.")]
    run: CallbackRun
    input: Any
    custom_data: AnyObject | None
    results: list[Any]
    error: InputError | StoredError | None
    test: NotRequired[Annotated[bool, Field(description="Of a test: it tells of no run.")]]


class BatchCallback(TypedDict):
    """The same with `per: batch`: several inputs at once, their results in `items` and together."""

    callback_ref_uid: UUID
    run: CallbackRun
    items: list[CallbackItem]
    results: list[Any]
    error: StoredError | None
