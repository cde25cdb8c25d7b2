"""The filters of the lists of members and keys (contract section 5)."""

from __future__ import annotations

from rest.filters import AnyChoice, AnyUuid, FilterSet
from workspaces.models import Role


class MemberFilters(FilterSet):
    user_uid = AnyUuid("user__uid")
    role = AnyChoice("role", Role.values)


class ApiKeyFilters(FilterSet):
    user_uid = AnyUuid("membership__user__uid")
