"""What every list and page of the admin has in common.

Staff see the rows of the workspaces they are members of, superusers see all; Django's permissions say what they may do
with them; members and keys are changed in workspaces where they are ADMIN.

Counting and paging end at 10,000 rows, and a list is sorted by no column that it does not offer. What a filter or a
search reads, its index alone bounds. The indexes for a run's status and time begin with the workspace: where no
workspace is chosen, PostgreSQL 18 skips through them, which is quick while workspaces are few, and earlier versions
read them whole. A run's mode has no index: where few runs have it, all are read (65 ms for 1,000,000). A search for
members, keys or users looks at every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.paginator import Paginator
from django.db.models import Field, Model, Q, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest

from rest import pagination
from workspaces.acting import LONGEST_KEY, ActingAdmin
from workspaces.models import Membership, Scope, Workspace
from workspaces.permissions import ROLES_BY_SCOPE
from workspaces.staff_verbs import EVERY_ROW

WORKSPACES_OFFERED = 100


def workspaces_of(request: HttpRequest) -> QuerySet[Workspace]:
    """Return the workspaces whose rows the person signed in may see."""
    if request.user.is_superuser:
        return Workspace.objects.all()
    return Workspace.objects.filter(pk__in=Membership.objects.filter(user=request.user.pk).values("workspace"))


def workspaces_where(request: HttpRequest, scope: str) -> QuerySet[Workspace]:
    """Return the workspaces where the person signed in has a role that the API asks for with `scope`."""
    if request.user.is_superuser:
        return Workspace.objects.all()
    memberships = Membership.objects.filter(user=request.user.pk, role__in=ROLES_BY_SCOPE[scope])
    return Workspace.objects.filter(pk__in=memberships.values("workspace"))


def workspaces_managed_by(request: HttpRequest) -> QuerySet[Workspace]:
    """Return the workspaces whose members and keys the person signed in may change, with the role the API asks for."""
    return workspaces_where(request, Scope.MANAGE)


def manages_any_workspace(request: HttpRequest) -> bool:
    """Say whether the person signed in may change members and keys anywhere."""
    return request.user.is_superuser or workspaces_managed_by(request).exists()


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts and pages no further than the API's lists count. What lies beyond is found by filter and search."""

    counted_up_to = pagination.COUNTED_UP_TO

    @cached_property
    def count(self) -> int:
        """Return the number of rows that there are pages of."""
        return min(self._rows, self.counted_up_to)

    @property
    def is_cut(self) -> bool:
        """Say whether there are more rows than that."""
        return self._rows > self.counted_up_to

    @cached_property
    def _rows(self) -> int:
        return pagination.count(self.object_list)  # type: ignore[arg-type]


class BoundedChangeList(ChangeList):
    """A list that is sorted by the columns that offer it, whatever the address says."""

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return what a column is sorted by, or None."""
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None

    def get_results(self, request: HttpRequest) -> None:
        """Read the page. The search form has no second count to tell."""
        super().get_results(request)
        self.full_result_count = self.result_count


class Autocomplete(AutocompleteSelect):
    """Django's own, which fails on a value that is no key instead of leaving the refusal to the form."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> list[Any]:
        """Return the options that are chosen."""
        return super().optgroups(name, [one for one in value if not one or str(one).isdecimal()], attr)


class StaffAdmin(ActingAdmin):
    """The base of every admin.

    `workspace_path` is the lookup that leads from a row to its workspace; None is for rows of no workspace.
    """

    workspace_path: ClassVar[str | None] = None
    paginator: Any = BoundedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return BoundedChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows that the person signed in may see."""
        rows = super().get_queryset(request)
        if self.workspace_path is None or request.user.is_superuser:
            return rows
        return rows.filter(**{f"{self.workspace_path}__in": workspaces_of(request)})

    def managed(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of `rows` whose workspace the person signed in manages, and all that have no workspace."""
        if self.workspace_path is None or request.user.is_superuser:
            return rows
        return rows.filter(**{f"{self.workspace_path}__in": workspaces_managed_by(request)})

    def rows_of_role(self, request: HttpRequest, scope: Scope) -> Q:
        """Return which rows the person's role in their workspace lets them act on, where the API asks for `scope`."""
        if self.workspace_path is None or request.user.is_superuser:
            return EVERY_ROW
        return Q(**{f"{self.workspace_path}__in": workspaces_where(request, scope)})

    def page_context(self, request: HttpRequest, title: str, **more: Any) -> dict[str, Any]:
        """Return what the template of a page of our own is given: what each page of the admin has, and `more`."""
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
            **more,
        }

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow what the list's own filters send, and nothing else that Django could look up (a regular expression)."""
        if request is None or "\0" in value:
            return False
        offered = (getattr(one, "parameter_name", f"{one}__exact") for one in self.get_list_filter(request))
        return lookup in offered

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return nothing: a link from elsewhere fills in no form."""
        return {}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search; for a form, among the rows that it may refer to.

        PostgreSQL has no text with a NUL in it, so nothing is found for one.
        """
        if "\0" in search_term:
            return queryset.none(), False
        if request.resolver_match and request.resolver_match.url_name == "autocomplete":
            queryset = self.managed(request, queryset)
        return super().get_search_results(request, queryset, search_term)

    def formfield_for_foreignkey(
        self, db_field: Field[Any, Any], request: HttpRequest | None, **kwargs: Any
    ) -> ModelChoiceField[Any] | None:
        """Let a form refer to the rows that its user may see, of workspaces that they manage, and to no others."""
        target = db_field.related_model
        if request is not None and isinstance(target, type) and self.admin_site.is_registered(target):
            of_target: Any = self.admin_site.get_model_admin(target)
            kwargs.setdefault("queryset", of_target.managed(request, of_target.get_queryset(request)))
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", Autocomplete(db_field, self.admin_site))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class ReadOnlyAdmin(StaffAdmin):
    """Rows that are looked at, and changed by no form. What can be done to them are the verbs."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False


class WorkspaceFilter(admin.SimpleListFilter):
    """The rows of one workspace; offers the first by name. Others' lists can be linked to all the same."""

    title = "workspace"
    parameter_name = "workspace"

    def __init__(self, request: HttpRequest, params: Any, model: type[Model], model_admin: StaffAdmin) -> None:
        self.path = model_admin.workspace_path
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the workspaces that can be chosen."""
        offered = workspaces_of(request).order_by("name").values_list("pk", "name")
        return [(str(pk), name) for pk, name in offered[:WORKSPACES_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the workspace chosen."""
        value = self.value()
        if value is None:
            return queryset
        if not value.isdecimal() or len(value) > LONGEST_KEY:
            raise IncorrectLookupParameters
        return queryset.filter(**{f"{self.path}": int(value)})
