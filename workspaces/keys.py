"""Making, checking and revoking API keys.

A key is `ry_` and 256 random bits, so a plain SHA-256 of it is as good as a slow hash and costs a request nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Q

from statements.compiled import Compiled, Parameter
from workspaces.models import ApiKey, Membership, Role, Scope, User, Workspace

PREFIX_LENGTH = 10
_POWER = {Role.USER: 0, Role.OPS: 1, Role.ADMIN: 2}


def lower_role(one: str, other: str) -> Role:
    """Return the role of the two that allows less."""
    return min(Role(one), Role(other), key=_POWER.__getitem__)


def hash_key(key: str) -> str:
    """Return what is stored of `key`."""
    return hashlib.sha256(key.encode()).hexdigest()


def make_key(
    membership: Membership,
    *,
    role: str | None = None,
    scopes: Collection[str] = (),
    name: str = "",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Store a new key of `membership` and return its row with the key itself, which is not kept.

    `role` defaults to the member's, `scopes` to all of them.
    """
    key = f"ry_{secrets.token_urlsafe(32)}"
    row = ApiKey.objects.create(
        membership=membership,
        name=name,
        prefix=key[:PREFIX_LENGTH],
        key_hash=hash_key(key),
        role=role or membership.role,
        scopes=sorted(scopes or Scope.values),
        expires_at=expires_at,
    )
    return row, key


def find_key(key: str, *, now: datetime) -> ApiKey | None:
    """Return the usable key row for `key` with its member, user and workspace, or None."""
    return _BY_HASH.first(key_hash=hash_key(key), now=now)


_BY_HASH = Compiled(
    lambda: (
        ApiKey.objects.usable(Parameter("now"))
        .select_related("membership__user", "membership__workspace")
        .filter(key_hash=Parameter("key_hash"))
    )
)


def note_use(row: ApiKey, *, now: datetime) -> None:
    """Remember that the key was used, to the minute: most requests write nothing."""
    minute = now.replace(second=0, microsecond=0)
    if row.last_used_at is None or row.last_used_at < minute:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=minute)
        ApiKey.objects.filter(stale, pk=row.pk).update(last_used_at=minute)


def revoke_key(row: ApiKey, *, now: datetime) -> bool:
    """Make the key fail from the next request on. Returns whether this call did it."""
    return ApiKey.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=now) == 1


@transaction.atomic
def ensure_membership(*, workspace_name: str, email: str, role: str | None = None) -> Membership:
    """Return the member named by workspace and e-mail, making whatever is missing of the three rows.

    A new member is ADMIN unless `role` says otherwise. An existing member's role is raised to `role` where it was
    lower and left alone where it was higher: a key can carry less than its member.
    """
    workspace, _ = Workspace.objects.get_or_create(name__iexact=workspace_name, defaults={"name": workspace_name})
    user = User.objects.filter(email__iexact=email).order_by("pk").first()
    if user is None:
        user, _ = User.objects.get_or_create(username=email, defaults={"email": email, "password": make_password(None)})
    membership, _ = Membership.objects.get_or_create(
        workspace=workspace, user=user, defaults={"role": role or Role.ADMIN}
    )
    if role and _POWER[Role(role)] > _POWER[Role(membership.role)]:
        membership.role = role
        membership.save(update_fields=["role"])
    return membership
