"""Making a key with a key: it never allows more than the one it is made with, nor more than its member may."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from rest.errors import BadInput, NoAccess
from workspaces import keys, quotas
from workspaces.authentication import Caller
from workspaces.models import ApiKey, Membership, Role, Workspace
from workspaces.quotas import Quota

API_KEYS = Quota(
    "api_keys",
    "RUNYARD_MAX_API_KEYS",
    limit=lambda: settings.RUNYARD_MAX_API_KEYS,
    used=lambda workspace: ApiKey.objects.of(workspace).kept().count(),
)


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What is asked for, its shape checked (`workspaces.serializers`). None is as much as may be, for oneself."""

    name: str = ""
    scopes: Collection[str] | None = None
    role: Role | None = None
    expires_at: datetime | None = None
    user_uid: UUID | None = None


@transaction.atomic
def issue_key(asked: KeyRequest, *, by: Caller) -> tuple[ApiKey, str]:
    """Store a new key in the caller's workspace; return its row, with its member and user, and the key itself.

    Raises:
        BadInput: `user_uid` names nobody in the workspace, or someone who is switched off.
        NoAccess: more was asked for than the caller's key or the member's role allows.
        LimitReached: the workspace has as many keys as it may.
    """
    membership = _member(asked.user_uid or by.user.uid, by.workspace)
    role = _role(asked.role, highest=keys.lower_role(by.role, membership.role))
    scopes = _scopes(asked.scopes, allowed=by.scopes)
    quotas.take(API_KEYS, by.workspace)
    return keys.make_key(membership, role=role, scopes=scopes, name=asked.name, expires_at=asked.expires_at)


def _member(user_uid: UUID, workspace: Workspace) -> Membership:
    found = Membership.objects.select_related("user").filter(workspace=workspace, user__uid=user_uid).first()
    if found is None:
        raise BadInput("user_uid: no member of this workspace.", {"field": "user_uid"})
    if not found.user.is_active:
        raise BadInput("user_uid: this member is switched off, and so would the key be.", {"field": "user_uid"})
    return found


def _role(asked: Role | None, *, highest: Role) -> Role:
    if asked is not None and keys.lower_role(asked, highest) != asked:
        raise NoAccess(
            f"role: {asked} is more than this key and the member may give on, which is {highest}.",
            {"field": "role", "highest": highest},
        )
    return asked or highest


def _scopes(asked: Collection[str] | None, *, allowed: frozenset[str]) -> Collection[str]:
    if asked is not None and not allowed.issuperset(asked):
        raise NoAccess(
            f"scopes: {', '.join(sorted(set(asked) - allowed))} cannot be given on by this key, which has"
            f" {', '.join(sorted(allowed))}.",
            {"field": "scopes", "allowed": sorted(allowed)},
        )
    return allowed if asked is None else set(asked)
