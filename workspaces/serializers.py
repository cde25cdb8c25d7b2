"""What workspaces, members and keys look like outside, and the body that makes a key (contract section 5)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from django.conf import settings
from pydantic import Field
from rest_framework import serializers

from rest.errors import BadInput
from rest.strict import StrictBody, Time, Uid, read_strictly
from workspaces import keys, quotas, representations
from workspaces.authentication import caller_of
from workspaces.issuing import KeyRequest
from workspaces.models import ApiKey, Membership, Role, Workspace
from workspaces.representations import Member

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
    "callback_headers": "RUNYARD_MAX_CALLBACK_HEADERS",
    "callback_header_bytes": "RUNYARD_MAX_CALLBACK_HEADER_BYTES",
}
"""Limits of single requests and results, as the API names them, with their settings."""


class ApiKeyBody(StrictBody):
    """The body that makes a key. What is absent or null is as much as the calling key may give on."""

    name: str = Field(default="", max_length=255)
    scopes: list[Literal["read", "run", "manage"]] | None = Field(default=None, min_length=1, max_length=3)
    role: Literal["ADMIN", "OPS", "USER"] | None = None
    expires_at: Time | None = None
    expires_in_days: int | None = Field(default=None, ge=1, le=MAX_DAYS)
    user_uid: Uid | None = None


def read_api_key_body(body: Any, *, now: datetime) -> KeyRequest:
    """Return what the making of a key asks for.

    Raises:
        BadInput: the body is not an object, a field is unknown or not what it takes, or the key would have expired.
    """
    read = read_strictly(body, ApiKeyBody, "a key")
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


class WorkspaceSerializer(serializers.BaseSerializer[Workspace]):
    """The caller's workspace: what it may, and what it holds of it now. A limit of null is none."""

    def to_representation(self, workspace: Workspace) -> representations.Workspace:
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

    def to_representation(self, membership: Membership) -> Member:
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

    def to_representation(self, row: ApiKey) -> representations.ApiKey:
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
