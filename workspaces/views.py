"""Who is calling, over REST: the workspace, its members and keys (contract section 5)."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from rest.errors import NotFound
from rest.views import ApiView, ListView
from workspaces import keys
from workspaces.authentication import caller_of
from workspaces.filters import ApiKeyFilters, MemberFilters
from workspaces.issuing import issue_key
from workspaces.models import ApiKey, Membership, Scope, Workspace
from workspaces.serializers import ApiKeySerializer, MemberSerializer, WorkspaceSerializer, read_api_key_body


class WorkspaceList(ListView):
    """`GET /v1/workspaces`: the one the key belongs to."""

    serializer_class = WorkspaceSerializer

    def get_queryset(self) -> QuerySet[Workspace]:
        return Workspace.objects.filter(pk=caller_of(self.request).workspace.pk)


class MemberList(ListView):
    """`GET /v1/workspaces/members`"""

    serializer_class = MemberSerializer
    filters = MemberFilters
    sort_fields: ClassVar = {"created_at": "created_at", "email": "user__email", "username": "user__username"}

    def get_queryset(self) -> QuerySet[Membership]:
        return caller_of(self.request).workspace.memberships.select_related("user")


class ApiKeyList(ListView):
    """`GET /v1/api-keys`, and `POST`, whose answer is the only one that shows the key itself."""

    write_scope = Scope.MANAGE
    serializer_class = ApiKeySerializer
    filters = ApiKeyFilters
    sort_fields: ClassVar = {name: name for name in ("created_at", "name", "expires_at", "last_used_at")}

    def known_parameters(self) -> frozenset[str]:
        return super().known_parameters() if self.request.method in SAFE_METHODS else frozenset()

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.of(caller_of(self.request).workspace).kept().select_related("membership__user")

    def post(self, request: Request) -> Response:
        asked = read_api_key_body(request.data, now=timezone.now())
        row, key = issue_key(asked, by=caller_of(request))
        shown_once = {**ApiKeySerializer(row).data, "key": key}
        return Response(shown_once, status=201, headers={"Cache-Control": "no-store"})


class ApiKeyDetail(ApiView):
    """`DELETE /v1/api-keys/{key_uid}`: revokes it. The key that asks may be the one."""

    write_scope = Scope.MANAGE

    def delete(self, request: Request, key_uid: UUID) -> Response:
        row = ApiKey.objects.of(caller_of(request).workspace).filter(uid=key_uid).first()
        if row is None or not keys.revoke_key(row, now=timezone.now()):
            raise NotFound("There is no such key.", {"uid": str(key_uid)})
        return Response(status=204)
