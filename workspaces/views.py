"""Who is calling, over REST: the workspace, its members and keys (contract section 5)."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from rest.errors import LimitReached, NotFound
from rest.operations import Operation, links
from rest.views import ApiView, ListView
from workspaces import keys, representations
from workspaces.authentication import caller_of
from workspaces.filters import ApiKeyFilters, MemberFilters
from workspaces.issuing import issue_key
from workspaces.models import ApiKey, Membership, Scope, Workspace
from workspaces.representations import MadeApiKey, Member
from workspaces.serializers import (
    ApiKeyBody,
    ApiKeySerializer,
    MemberSerializer,
    WorkspaceSerializer,
    read_api_key_body,
)


class WorkspaceList(ListView):
    """`GET /v1/workspaces`: the one the key belongs to."""

    operations: ClassVar = {
        "GET": Operation(
            id="list_workspaces",
            summary="Get the workspace",
            description="The one the key belongs to, with its limits and what it holds of them now.",
            answers=list[representations.Workspace],
            is_paged=True,
        )
    }
    serializer_class = WorkspaceSerializer

    def get_queryset(self) -> QuerySet[Workspace]:
        return Workspace.objects.filter(pk=caller_of(self.request).workspace.pk)


class MemberList(ListView):
    """`GET /v1/workspaces/members`"""

    operations: ClassVar = {
        "GET": Operation(id="list_members", summary="List the members", answers=list[Member], is_paged=True)
    }
    serializer_class = MemberSerializer
    filters = MemberFilters
    sort_fields: ClassVar = {"created_at": "created_at", "email": "user__email", "username": "user__username"}

    def get_queryset(self) -> QuerySet[Membership]:
        return caller_of(self.request).workspace.memberships.select_related("user")


class ApiKeyList(ListView):
    """`GET /v1/api-keys`, and `POST`, whose answer is the only one that shows the key itself."""

    operations: ClassVar = {
        "GET": Operation(
            id="list_api_keys", summary="List the API keys", answers=list[representations.ApiKey], is_paged=True
        ),
        "POST": Operation(
            id="create_api_key",
            summary="Make an API key",
            description="The answer is the only one that shows the key. It may no more than the key that asks.",
            status=201,
            takes=ApiKeyBody,
            answers=MadeApiKey,
            errors=[LimitReached],
            links=links("key_uid", "$response.body#/uid", "delete_api_key"),
        ),
    }
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
        shown_once: MadeApiKey = {**ApiKeySerializer().to_representation(row), "key": key}
        return Response(shown_once, status=201, headers={"Cache-Control": "no-store"})


class ApiKeyDetail(ApiView):
    """`DELETE /v1/api-keys/{key_uid}`: revokes it. The key that asks may be the one."""

    operations: ClassVar = {
        "DELETE": Operation(
            id="delete_api_key",
            summary="Revoke an API key",
            description="It fails from the next request on. It may be the one that asks.",
            status=204,
        )
    }
    write_scope = Scope.MANAGE

    def delete(self, request: Request, key_uid: UUID) -> Response:
        row = ApiKey.objects.of(caller_of(request).workspace).filter(uid=key_uid).first()
        if row is None or not keys.revoke_key(row, now=timezone.now()):
            raise NotFound("There is no such key.", {"uid": str(key_uid)})
        return Response(status=204)
