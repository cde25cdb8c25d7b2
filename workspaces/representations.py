"""What workspaces, members and keys look like outside (contract section 5), type by type."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rest.one_of import OneOf
from workspaces.models import Role, Scope


class Workspace(TypedDict):
    """A workspace: what it may, and what it holds of it now."""

    uid: UUID
    name: str
    created_at: datetime
    role: Annotated[str, OneOf(Role)]
    limits: Annotated[dict[str, int | str | None], Field(description="By name; null is no limit.")]
    usage: Annotated[dict[str, int], Field(description="By the names of limits.")]


class Member(TypedDict):
    """A user in the workspace. `uid` names the membership, `user_uid` the user, as runs and keys do."""

    uid: UUID
    user_uid: UUID
    username: str
    email: str
    role: Annotated[str, OneOf(Role)]
    is_active: bool
    created_at: datetime


class ApiKey(TypedDict):
    """A key without itself. `role` is the one in force: the lower of the key's and its member's."""

    uid: UUID
    name: str
    prefix: str
    scopes: list[Annotated[str, OneOf(Scope)]]
    role: Annotated[str, OneOf(Role)]
    expires_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="To the minute.")]
    created_at: datetime
    user_uid: UUID


class MadeApiKey(ApiKey):
    """A key that was just made, and this once the key itself."""

    key: str
