"""What a caller may do: the key's scope and the member's role must both allow it (contract section 5)."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from rest.errors import NoAccess
from workspaces.authentication import caller_of
from workspaces.models import Role, Scope

ROLES_BY_SCOPE: dict[str, frozenset[Role]] = {
    Scope.READ: frozenset(Role),
    Scope.RUN: frozenset({Role.ADMIN, Role.OPS}),
    Scope.MANAGE: frozenset({Role.ADMIN}),
}


class RoleAndScope(BasePermission):
    """Reading asks for the view's `read_scope`, `read` unless it says otherwise; writing for its `write_scope`, `run`.

    Raises:
        Unauthorized: nobody is calling.
        NoAccess: the key's scopes or the role do not allow it; `params` say what would.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        caller = caller_of(request)
        reads = request.method in SAFE_METHODS
        scope = getattr(view, "read_scope", Scope.READ) if reads else getattr(view, "write_scope", Scope.RUN)
        if scope not in caller.scopes:
            raise NoAccess(
                f"This key lacks the scope '{scope}'.", {"required_scope": scope, "scopes": sorted(caller.scopes)}
            )
        if caller.role not in ROLES_BY_SCOPE[scope]:
            allowed = sorted(ROLES_BY_SCOPE[scope])
            raise NoAccess(
                f"The role {caller.role} may not do this; it takes {' or '.join(allowed)}.",
                {"role": caller.role, "allowed_roles": allowed},
            )
        return True
