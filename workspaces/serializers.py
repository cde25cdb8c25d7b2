"""What workspaces, members and keys look like outside, and the body that makes a key (contract section 5)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError
from rest_framework import serializers

from rest.errors import BadInput
from rest.json import dumps
from rest.query import BadValue, time_value, uuid_value
from workspaces import keys, quotas
from workspaces.authentication import caller_of
from workspaces.issuing import KeyRequest
from workspaces.models import ApiKey, Membership, Role, Workspace

MAX_DAYS = 36_500
REQUEST_LIMITS = {
    "body_bytes": "RUNYARD_MAX_BODY_BYTES",
    "inputs_per_run": "RUNYARD_MAX_INPUTS",
    "input_bytes": "RUNYARD_MAX_INPUT_BYTES",
    "custom_data_bytes": "RUNYARD_MAX_CUSTOM_DATA_BYTES",
    "parameters_bytes": "RUNYARD_MAX_PARAMETERS_BYTES",
    "output_bytes": "RUNYARD_MAX_OUTPUT_BYTES",
    "outputs_per_input": "RUNYARD_MAX_OUTPUTS_PER_INPUT",
    "output_bytes_per_input": "RUNYARD_MAX_OUTPUT_BYTES_PER_INPUT",
}
"""Limits of single requests and results, as the API names them, with their settings."""


def _read_by(read: Callable[[str], Any]) -> BeforeValidator:
    """Read a text as the same value in a query string is read."""

    def validate(value: Any) -> Any:
        try:
            return read(value if isinstance(value, str) else dumps(value).decode())
        except BadValue as error:
            raise PydanticCustomError("value", "{reason}", {"reason": error.reason}) from None

    return BeforeValidator(validate)


class ApiKeyBody(BaseModel):
    """The body that makes a key. What is absent or null is as much as the calling key may give on."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str = Field(default="", max_length=255)
    scopes: list[Literal["read", "run", "manage"]] | None = Field(default=None, min_length=1, max_length=3)
    role: Literal["ADMIN", "OPS", "USER"] | None = None
    expires_at: Annotated[datetime, _read_by(time_value)] | None = None
    expires_in_days: int | None = Field(default=None, ge=1, le=MAX_DAYS)
    user_uid: Annotated[UUID, _read_by(uuid_value)] | None = None


def read_api_key_body(body: Any, *, now: datetime) -> KeyRequest:
    """Return what the making of a key asks for.

    Raises:
        BadInput: the body is not an object, a field is unknown or not what it takes, or the key would have expired.
    """
    if not isinstance(body, dict):
        raise BadInput("The body is a JSON object.", {"field": ""})
    allowed = sorted(ApiKeyBody.model_fields)
    for name in body:
        if name not in allowed:
            raise BadInput(
                f"{name[:60]!r} is not a field of a key, which takes {', '.join(allowed)}.",
                {"field": name[:60], "allowed": allowed},
            )
    try:
        read = ApiKeyBody.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        raise _refusal(error) from None
    return KeyRequest(
        name=read.name,
        scopes=read.scopes,
        role=Role(read.role) if read.role else None,
        expires_at=_expiry(read, now),
        user_uid=read.user_uid,
    )


def _expiry(read: ApiKeyBody, now: datetime) -> datetime | None:
    if read.expires_in_days is not None:
        if read.expires_at is not None:
            raise BadInput("expires_in_days: send this or expires_at, not both.", {"field": "expires_in_days"})
        return now + timedelta(days=read.expires_in_days)
    if read.expires_at is not None and read.expires_at <= now:
        raise BadInput("expires_at: a time in the future is required.", {"field": "expires_at"})
    return read.expires_at


def _refusal(error: ValidationError) -> BadInput:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return BadInput(f"{field}: {first['msg']}", {"field": field})


class WorkspaceSerializer(serializers.BaseSerializer[Workspace]):
    """The caller's workspace: what it may, and what it holds of it now. A limit of null is none."""

    def to_representation(self, workspace: Workspace) -> dict[str, Any]:
        standings = quotas.report(workspace)
        return {
            "uid": workspace.uid,
            "name": workspace.name,
            "created_at": workspace.created_at,
            "role": caller_of(self.context["request"]).role,
            "limits": {
                "rate_limit": settings.RUNYARD_RATE_LIMIT,
                **{name: standing.limit for name, standing in standings.items()},
                **{name: getattr(settings, setting) for name, setting in REQUEST_LIMITS.items()},
            },
            "usage": {name: standing.used for name, standing in standings.items()},
        }


class MemberSerializer(serializers.BaseSerializer[Membership]):
    """A user in the workspace. `uid` names the membership, `user_uid` the user, as runs and keys do."""

    def to_representation(self, membership: Membership) -> dict[str, Any]:
        return {
            "uid": membership.uid,
            "user_uid": membership.user.uid,
            "username": membership.user.username,
            "email": membership.user.email,
            "role": membership.role,
            "is_active": membership.user.is_active,
            "created_at": membership.created_at,
        }


class ApiKeySerializer(serializers.BaseSerializer[ApiKey]):
    """A key without itself. `role` is the one in force: the lower of the key's and its member's."""

    def to_representation(self, row: ApiKey) -> dict[str, Any]:
        return {
            "uid": row.uid,
            "name": row.name,
            "prefix": row.prefix,
            "scopes": row.scopes,
            "role": keys.lower_role(row.role, row.membership.role),
            "expires_at": row.expires_at,
            "last_used_at": row.last_used_at,
            "created_at": row.created_at,
            "user_uid": row.membership.user.uid,
        }
