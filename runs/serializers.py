"""What comes in with a launch, checked for its shape, and what runs and their transitions look like outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from django.conf import settings
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from rest_framework import serializers

from actions.options import HIGHEST
from actions.problems import printable, problems_of
from rest.errors import ApiError, BadInput, BadParameters, Error, GenericError, TimedOut, error_body
from rest.json import dumps, rfc3339
from rest.strict import Body, StrictBody, Time, Uid
from runs import representations
from runs.callback_requests import AskedCallback
from runs.launch import AsyncLaunch, LiveLaunch
from runs.models import Run, RunCallback, RunProgress, RunTransition
from runs.representations import CallbackSettings, Counts, LaunchedRun
from runs.resumption import FailedInputs

FARTHEST_START = timedelta(days=366)
MAX_INDEXES = 100_000


def _once_each(uids: list[UUID]) -> list[UUID]:
    return list(dict.fromkeys(uids))


Tag = Annotated[str, Field(min_length=1, max_length=64)]
Label = Annotated[str, Field(min_length=1, max_length=255)]


def _tell_how_many(schema: dict[str, Any]) -> None:
    schema |= {"minItems": 1, "maxItems": settings.RUNYARD_MAX_INPUTS}


Inputs = Annotated[
    list[Any],
    Field(
        description="Objects that the action takes. Each may carry `custom_data`, which comes back with its results.",
        json_schema_extra=_tell_how_many,  # runs.launch_checks refuses more
    ),
]


def without_nulls(value: Any) -> Any:
    """Return an object without what is null in it: clients made from a schema send null for what they leave out."""
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value


class LaunchBody(StrictBody):
    """The fields that every launch may carry."""

    never_null: ClassVar = frozenset({"inputs", "parameters"})

    parameters: dict[str, Any] = {}
    """For the whole call."""
    identity_ids: list[Annotated[str, Field(max_length=255)]] | None = Field(default=None, max_length=1_000)
    """Kept and handed to the action."""
    identity_mode: Literal["direct", "auto", "managed"] | None = None
    """Kept and handed to the action."""


class LiveBody(LaunchBody):
    """The body of a live call."""

    input: dict[str, Any] = {}
    """What the action is called on. It may carry `custom_data`, which the action never sees."""


class CallbackBody(StrictBody):
    """What is called back, and where."""

    # webhooks.destinations says which URLs and headers may be.
    url: Annotated[str, Field(repr=False)]
    """An https URL at a public address."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """Sent with each callback, up to 20. They are never shown."""
    on: Literal["all", "final"] = "all"
    """Results as they are recorded and the end of the run, or the end alone."""
    per: Literal["input", "batch"] = "input"
    """Whether a callback with results is of an input or of a batch of them."""

    def asked(self) -> AskedCallback:
        return AskedCallback(url=self.url, headers=self.headers, on=self.on, per=self.per)


class ManyInputsBody(LaunchBody):
    """The fields of a launch on many inputs, now or on a schedule."""

    inputs: Inputs
    callback: Annotated[CallbackBody | None, BeforeValidator(without_nulls)] = None
    name: str = Field(default="", max_length=255)
    tags: list[Tag] = Field(default=[], max_length=20)
    batch_size: int | None = Field(default=None, ge=1, le=HIGHEST["batch_size"])
    """How many inputs a worker takes at once. The action's by default, or what suits the number of inputs."""
    on_invalid: Literal["skip", "reject"] = "skip"
    """Whether inputs that do not fit are recorded as failed, or refuse the launch."""


class AsyncBody(ManyInputsBody):
    """The body of an async launch."""

    depends_on: Annotated[list[Uid], AfterValidator(_once_each)] = Field(default=[], max_length=20)
    """Runs that must have succeeded before, in part at least."""
    start_after: Time | None = None
    """Not before this time, at most a year ahead."""


class ResumeBody(StrictBody):
    """The body of a resume; without one it is resumed just so."""

    action: Literal["resume"] = "resume"
    indexes: list[Annotated[int, Field(ge=0)]] = Field(default=[], min_length=1, max_length=MAX_INDEXES)
    """Only these of the failed inputs, by their places."""
    error_labels: list[Label] = Field(default=[], min_length=1, max_length=100)
    """Only those of the failed inputs that failed with one of these."""


MISTAKEN_IN_LIVE = {
    "inputs": "a live call takes `input`, one object; `inputs` belongs to async",
    "callback": "a live call is answered with its output; `callback` belongs to async",
}
MISTAKEN_IN_ASYNC = {
    "input": "an async run takes `inputs`, an array; `input` belongs to live",
}


def read_live_body(body: Any) -> LiveLaunch:
    """Return what a live call asks for.

    Raises:
        BadInput: the body is not an object, or a field is unknown or not what it takes.
        BadParameters: `parameters` is not an object.
    """
    if not isinstance(body, dict):
        raise BadInput("The body is a JSON object with the field `input`.", {"field": ""})
    refuse_mistaken(body, MISTAKEN_IN_LIVE)
    refuse_unknown(body, LiveBody, "a live call")
    read = read_fields(body, LiveBody)
    return LiveLaunch(**{name: getattr(read, name) for name in LiveBody.model_fields})


def read_async_body(body: Any, *, now: datetime) -> AsyncLaunch:
    """Return what an async launch asks for.

    Raises:
        BadInput: the body is not an object, or a field is unknown or not what it takes.
        BadParameters: `parameters` is not an object.
    """
    if not isinstance(body, dict):
        raise BadInput("The body is a JSON object with the field `inputs`.", {"field": ""})
    refuse_mistaken(body, MISTAKEN_IN_ASYNC)
    require_inputs(body)
    refuse_unknown(body, AsyncBody, "an async launch", also=MISTAKEN_IN_ASYNC)
    refuse_unknown_in_callback(body)
    read = read_fields(body, AsyncBody)
    if read.start_after and read.start_after > now + FARTHEST_START:
        latest = rfc3339(now + FARTHEST_START)
        raise BadInput(
            f"start_after: at most a year ahead, so no later than {latest}.", {"field": "start_after", "max": latest}
        )
    fields = {name: getattr(read, name) for name in AsyncBody.model_fields}
    return AsyncLaunch(**fields | {"callback": read.callback and read.callback.asked()})


def read_resume_body(body: Any) -> FailedInputs:
    """Return which failed inputs a resume asks for.

    Raises:
        BadInput: the body is not an object, or a field is unknown or not what it takes.
    """
    if not isinstance(body, dict):
        raise BadInput('The body is {"action": "resume"}, or left out.', {"field": ""})
    refuse_unknown(body, ResumeBody, "a resume")
    read = read_fields(body, ResumeBody)
    return FailedInputs(frozenset(read.indexes), frozenset(read.error_labels))


def require_inputs(body: dict[str, Any]) -> None:
    """Raise `BadInput` for a body without `inputs`."""
    if not body.get("inputs") and not isinstance(body.get("inputs"), list):
        raise BadInput("inputs: an array of 1 or more inputs is required.", {"field": "inputs"})


def refuse_mistaken(body: dict[str, Any], mistaken: Mapping[str, str]) -> None:
    """Raise `BadInput` for a field that another endpoint takes; `mistaken` says which."""
    for name, reason in mistaken.items():
        if body.get(name) is not None:
            raise BadInput(f"{name}: {reason}.", {"field": name})


def refuse_unknown(
    body: dict[str, Any], model: type[StrictBody], what: str, *, also: Collection[str] = (), within: str = ""
) -> None:
    """Raise `BadInput` for a field that the body of `what` does not have, naming those it has."""
    allowed = sorted(model.model_fields)
    for name in body:
        if name not in allowed and name not in also:
            raise BadInput(
                f"{printable(dumps(name).decode(), 60)} is not a field of {what}, which takes {', '.join(allowed)}.",
                {"field": within + printable(name, 60), "allowed": allowed},
            )


def refuse_unknown_in_callback(body: dict[str, Any]) -> None:
    """Raise `BadInput` for a field that the `callback` of a launch does not have."""
    if isinstance(body.get("callback"), dict):
        refuse_unknown(body["callback"], CallbackBody, "a callback", within="callback.")


def read_fields(body: dict[str, Any], model: type[Body]) -> Body:
    """Return the fields of a body; `model` says where null is as if the field were absent.

    Raises:
        BadInput: a field is not what it takes.
        BadParameters: `parameters` is not an object.
    """
    # Clients made from a schema send null for what they leave out.
    kept = body if not model.null_is_absent else model.never_null
    present = {name: value for name, value in body.items() if value is not None or name in kept}
    try:
        return model.model_validate(present)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> ApiError:
    problems = problems_of(error)
    first = problems[0]
    kind = BadParameters if first["field"].split(".")[0] == "parameters" else BadInput
    return kind(f"{first['field']}: {first['reason']}", {"field": first["field"], "problems": problems})


class RunSerializer(serializers.BaseSerializer[Run]):
    """The run object (contract section 2)."""

    def to_representation(self, run: Run) -> representations.Run:
        progress = run.progress
        return {
            "id": run.pk,
            "uid": run.uid,
            "name": run.name,
            "action_id": run.action_id,
            "action_name": run.action_name,
            "retry_count": progress.retry_count,
            "user_uid": run.user.uid,
            "workspace_uid": run.workspace.uid,
            "execution_mode": run.execution_mode,
            "last_error": run.last_error,
            "parameters": run.parameters,
            "callback": _callback(run),
            "status": run.status,
            "output_count": progress.output_count,
            "scheduled_run_uid": run.schedule_uid,
            "scheduled_run_name": run.schedule_name or None,
            "postponed_until": run.postponed_until,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "created_at": run.created_at,
            "updated_at": run.updated_at,
            "tags": run.tags,
            **counts(progress),
            "depends_on": run.depends_on,
        }


def _callback(run: Run) -> CallbackSettings | None:
    """Return what a run calls back, but for the headers: they may be secrets."""
    callback: RunCallback | None = getattr(run, "callback", None)
    return {"url": callback.destination.url, "on": callback.on, "per": callback.per} if callback else None


class RunStatusSerializer(serializers.BaseSerializer[Run]):
    """A run's status and counts: what is cheap enough to poll (`RunQuerySet.for_status` reads it)."""

    def to_representation(self, run: Run) -> representations.RunProgress:
        return {
            "id": run.pk,
            "uid": run.uid,
            "status": run.status,
            "postponed_until": run.postponed_until,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "created_at": run.created_at,
            "updated_at": run.updated_at,
            "output_count": run.progress.output_count,
            "retry_count": run.progress.retry_count,
            **counts(run.progress),
        }


class LaunchedRunSerializer(serializers.BaseSerializer[Run]):
    """The answer to an async launch."""

    def to_representation(self, run: Run) -> LaunchedRun:
        return {
            "run_id": run.pk,
            "run_uid": run.uid,
            "workspace_uid": run.workspace.uid,
            "user_uid": run.user.uid,
            "action_name": run.action_name,
            "status": run.status,
            "postponed_until": run.postponed_until,
            "created_at": run.created_at,
            "updated_at": run.updated_at,
            "execution_mode": run.execution_mode,
            "input_count": run.progress.input_count,
            "invalid_count": run.progress.invalid_count,
        }


class TransitionSerializer(serializers.BaseSerializer[RunTransition]):
    """One line of a run's timeline."""

    def to_representation(self, transition: RunTransition) -> representations.RunTransition:
        return {
            "at": transition.at,
            "from_status": transition.from_status,
            "to_status": transition.to_status,
            "actor": transition.actor,
            "actor_uid": transition.actor_uid,
            "reason": transition.reason,
        }


def live_failure(run: Run) -> Error:
    """Return the error body of a live call that failed: 504 where it took too long, else 424.

    `error_ref` is the one kept with the input, under which the log tells more.
    """
    error = run.last_error or {}
    label = error.get("label", GenericError.label)
    return error_body(
        label,
        error.get("message", ""),
        scope=error.get("scope", "action"),
        status_code=TimedOut.status_code if label == TimedOut.label else GenericError.status_code,
        params=error.get("params"),
        error_ref=error.get("error_ref", ""),
    )


def counts(progress: RunProgress) -> Counts:
    """Return a run's numbers; `progress` is the part of its inputs that have a result, from 0 to 1."""
    ended = progress.input_count - progress.remaining
    return {
        "input_count": progress.input_count,
        "succeeded_count": progress.succeeded_count,
        "failed_count": progress.failed_count,
        "invalid_count": progress.invalid_count,
        "progress": round(ended / progress.input_count, 6) if progress.input_count else 1.0,
    }
