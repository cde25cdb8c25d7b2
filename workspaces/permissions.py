"""What a caller may do: the key's scope and the member's role must both allow it (contract section 5)."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from rest.errors import NoAccess, Unauthorized
from workspaces.authentication import Caller
from workspaces.models import Role, Scope

ROLES_BY_SCOPE: dict[str, frozenset[Role]] = {
    Scope.READ: frozenset(Role),
    Scope.RUN: frozenset({Role.ADMIN, Role.OPS}),
    Scope.MANAGE: frozenset({Role.ADMIN}),
}


class RoleAndScope(BasePermission):
    """Reading asks for scope `read`; writing for the view's `write_scope`, `run` unless it says otherwise.

    Raises:
        Unauthorized: nobody is calling.
        NoAccess: the key's scopes or the role do not allow it; `params` say what would.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        caller = request.auth
        if not isinstance(caller, Caller):
            raise Unauthorized()
        # A method that the view does not have is a 405 for everyone.
        if request.method and request.method.lower() not in _methods_of(view):
            return True
        scope = Scope.READ if request.method in SAFE_METHODS else getattr(view, "write_scope", Scope.RUN)
        scope = getattr(view, "read_scope", scope) if request.method in SAFE_METHODS else scope
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


def _methods_of(view: Any) -> set[str]:
    return {name for name in view.http_method_names if hasattr(view, name)}
