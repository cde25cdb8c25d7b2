"""Workspaces, their members and keys, and the users, as staff see and change them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from workspaces import keys
from workspaces.admin_verbs import KEY_VERBS
from workspaces.forms import ApiKeyForm, MembershipForm, WorkspaceForm
from workspaces.markup import badge
from workspaces.models import ApiKey, Membership, User, Workspace
from workspaces.staff import ReadOnlyAdmin, StaffAdmin, WorkspaceFilter, manages_any_workspace, workspaces_of


class SuperusersOnlyAdmin(StaffAdmin):
    """Rows by which people could give themselves more than they have."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow superusers."""
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow superusers."""
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Allow superusers."""
        return request.user.is_superuser


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(SuperusersOnlyAdmin, DjangoGroupAdmin):
    """Sets of permissions."""


@admin.register(User)
class UserAdmin(SuperusersOnlyAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    """People. Superusers make and change them; other staff may see those of their workspaces.

    Nobody is deleted: runs name who launched them. Someone who left is made inactive, which ends their keys as well.
    """

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("username", "email", "first_name", "last_name")
    readonly_fields = ("uid", "last_login", "date_joined")
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "email", "usable_password", "password1", "password2")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the users that share a workspace with the person signed in."""
        users = super().get_queryset(request)
        if request.user.is_superuser:
            return users
        return users.filter(pk__in=Membership.objects.filter(workspace__in=workspaces_of(request)).values("user"))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return what is shown: who it is, and to superusers what they may do."""
        if obj is None and request.user.is_superuser:
            return self.add_fieldsets
        who = ("uid", "username", "first_name", "last_name", "email", "is_active", "last_login", "date_joined")
        if not request.user.is_superuser:
            return ((None, {"fields": who}),)
        rights = ("is_staff", "is_superuser", "groups", "user_permissions")
        return ((None, {"fields": (*who, "password")}), ("What the admin lets them do", {"fields": rights}))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False


@admin.register(Workspace)
class WorkspaceAdmin(StaffAdmin):
    """Tenants. None is deleted by a form: all of its runs would go with it."""

    workspace_path = "pk"
    form = WorkspaceForm
    list_display = ("name", "uid", "created_at")
    ordering = ("name",)
    search_fields = ("name",)
    fields = ("name", "uid", "created_at", "contents")
    readonly_fields = ("uid", "created_at", "contents")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    @admin.display(description="What it holds")
    def contents(self, workspace: Workspace) -> SafeString | str:
        """Return links to the lists of its rows."""
        if workspace._state.adding:
            return ""
        lists = [("runs_run", "runs"), ("workspaces_membership", "members"), ("workspaces_apikey", "keys")]
        query = f"?{WorkspaceFilter.parameter_name}={workspace.pk}"
        links = [(reverse(f"admin:{name}_changelist"), query, text) for name, text in lists]
        return format_html_join(" · ", '<a class="link" href="{}{}">{}</a>', links)


@admin.register(Membership)
class MembershipAdmin(StaffAdmin):
    """Who is a member of which workspace. Only the role of a member changes: keys belong to the two others.

    Staff who are no superusers change members of the workspaces that they manage, and never their own membership.
    """

    workspace_path = "workspace"
    form = MembershipForm
    list_display = ("user", "workspace", "role", "created_at")
    list_filter = ("role", WorkspaceFilter)
    ordering = ("-pk",)
    search_fields = ("user__username", "user__email", "workspace__name")
    autocomplete_fields = ("user", "workspace")
    fields = ("user", "workspace", "role")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the members with their user and workspace, which each is named by."""
        return super().get_queryset(request).select_related("user", "workspace")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return what stays as it was made."""
        return ("user", "workspace") if obj else ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Ask Django's permission, and for a workspace to add members to."""
        return super().has_add_permission(request) and manages_any_workspace(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Ask Django's permission, and whether this member is one to change."""
        return super().has_change_permission(request, obj) and (obj is None or self._may_change(request, [obj]))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Ask Django's permission, and whether this member is one to remove."""
        return super().has_delete_permission(request, obj) and (obj is None or self._may_change(request, [obj]))

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Return what goes with members: their keys, counted, however many there are. Refuse all if one may not go."""
        removed = [str(one) for one in objs]
        key_count = ApiKey.objects.filter(membership__in=objs).count()
        lacking = set() if self._may_change(request, objs) else {str(self.opts.verbose_name)}
        return removed, {"memberships": len(removed), "API keys": key_count}, lacking, []

    def _may_change(self, request: HttpRequest, members: Iterable[Model]) -> bool:
        if request.user.is_superuser:
            return True
        asked = {one.pk for one in members}
        others = Membership.objects.filter(pk__in=asked).exclude(user=request.user.pk)
        return self.managed(request, others).count() == len(asked)


class KeyStateFilter(admin.SimpleListFilter):
    """Which keys open the door."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two."""
        return [("usable", "Usable"), ("unusable", "Revoked, expired or of an inactive user")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the keys of the state chosen."""
        usable = ApiKey.objects.usable(timezone.now()).values("pk")
        match self.value():
            case "usable":
                return queryset.filter(pk__in=usable)
            case "unusable":
                return queryset.exclude(pk__in=usable)
        return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Keys: made here and shown once, never changed, revoked for good. Of a key only its hash is stored."""

    workspace_path = "membership__workspace"
    verbs = KEY_VERBS
    form = ApiKeyForm
    list_display = ("begins_with", "name", "user", "workspace", "role", "may", "state", "last_used_at", "created_at")
    list_display_links = ("begins_with", "name")
    list_filter = (KeyStateFilter, "role", WorkspaceFilter)
    ordering = ("-pk",)
    sortable_by = ()
    search_fields = (
        "prefix__startswith",
        "name",
        "membership__user__username",
        "membership__user__email",
        "membership__workspace__name",
    )
    search_help_text = "The key's first characters, its name, or its user or workspace. Never paste a whole key here."
    autocomplete_fields = ("membership",)
    fields = (
        "begins_with",
        "uid",
        "name",
        "membership",
        "role",
        "may",
        "state",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "created_at",
    )
    readonly_fields = ("begins_with", "may", "state")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the keys with all that names their owners."""
        keys = super().get_queryset(request)
        return keys.select_related("membership__user", "membership__workspace").defer("key_hash")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        """Return what is shown of a key, or asked for a new one."""
        return self.fields if obj else ("membership", "name", "role", "scopes", "expires_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Ask Django's permission to add keys, and for a workspace to make them in."""
        return request.user.has_perm("workspaces.add_apikey") and manages_any_workspace(request)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Make the key that the form describes. The key itself stays on `obj`, in memory, for the answer to show."""
        row, key = keys.make_key(
            obj.membership, role=obj.role or None, scopes=obj.scopes, name=obj.name, expires_at=obj.expires_at
        )
        obj.__dict__.update(row.__dict__, key=key)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Answer with the key itself, the one time that it is shown."""
        context = self.page_context(request, "The new key", made=obj)
        return TemplateResponse(request, "admin/workspaces/apikey/made.html", context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Leave one button to make a key: it is shown when it is made."""
        context |= {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="key")
    def begins_with(self, row: ApiKey) -> SafeString:
        """Return what people recognise a key by."""
        return format_html('<code class="uid">{}…</code>', row.prefix)

    @admin.display(description="user")
    def user(self, row: ApiKey) -> str:
        """Return whose key it is."""
        return str(row.membership.user)

    @admin.display(description="workspace")
    def workspace(self, row: ApiKey) -> str:
        """Return the workspace that the key opens."""
        return str(row.membership.workspace)

    @admin.display(description="scopes")
    def may(self, row: ApiKey) -> str:
        """Return what the key may be used for."""
        return ", ".join(row.scopes)

    @admin.display(description="state")
    def state(self, row: ApiKey) -> SafeString:
        """Return whether the key opens the door, or why it does not."""
        kind, text = _state(row)
        return badge(kind, text)


def _state(row: ApiKey) -> tuple[str, str]:
    if row.revoked_at:
        return "bad", "revoked"
    if row.expires_at and row.expires_at <= timezone.now():
        return "waiting", "expired"
    if not row.membership.user.is_active:
        return "waiting", "user inactive"
    return "good", "usable"
