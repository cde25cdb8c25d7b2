"""Reading the caller's key: `X-API-Key: <key>` or `Authorization: Bearer <key>` (contract section 0)."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from rest.errors import Unauthorized
from workspaces import keys
from workspaces.models import ApiKey, Role, User, Workspace


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: `request.auth` of every authenticated request."""

    key: ApiKey
    user: User
    workspace: Workspace
    role: Role
    scopes: frozenset[str]


def caller_of(request: Request) -> Caller:
    """Return who is calling; for views, whose permission has let nobody else in.

    Raises:
        Unauthorized: nobody is.
    """
    if not isinstance(request.auth, Caller):
        raise Unauthorized()
    return request.auth


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticates by API key. Sessions and cookies never do: those are the admin's."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        key = _sent_key(request)
        if key is None:
            return None
        now = timezone.now()
        row = keys.find_key(key, now=now)
        if row is None:
            raise Unauthorized("The key is unknown, expired or revoked.")
        keys.note_use(row, now=now)
        membership = row.membership
        caller = Caller(
            key=row,
            user=membership.user,
            workspace=membership.workspace,
            role=keys.lower_role(row.role, membership.role),
            scopes=frozenset(row.scopes),
        )
        return membership.user, caller

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="runyard"'


def _sent_key(request: Request) -> str | None:
    key = request.headers.get("X-API-Key", "").strip()
    if key:
        return key
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return None
