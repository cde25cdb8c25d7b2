"""What staff do to API keys."""

from __future__ import annotations

from django.db.models import Q
from django.utils import timezone

from rest.errors import Conflict
from workspaces import keys
from workspaces.models import ApiKey, Scope, User
from workspaces.staff_verbs import Asked, Verb


def _revoke(row: ApiKey, person: User, asked: Asked) -> None:
    if not keys.revoke_key(row, now=timezone.now()):
        raise Conflict("It was revoked before.")


def _name(row: ApiKey) -> str:
    return f"{row}: {row.name}" if row.name else str(row)


KEY_VERBS = (
    Verb(
        name="revoke",
        title="Revoke",
        icon="key_off",
        tells="The key fails from the next request on. This cannot be undone.",
        done="Revoked.",
        permission="workspaces.change_apikey",
        scope=Scope.MANAGE,
        own=lambda person: Q(membership__user=person.pk),
        offered=Q(revoked_at=None),
        does=_revoke,
        naming=_name,
        is_grave=True,
    ),
)
