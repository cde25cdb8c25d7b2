"""Actions, as staff see and change them: switched on or off, paused, their limits lowered."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from actions import catalogue, registry
from actions.admin_verbs import ACTION_VERBS
from actions.definition import ActionDefinition
from actions.forms import ActionForm
from actions.models import Action
from workspaces.markup import badge, json_block
from workspaces.staff import StaffAdmin


def _definition_of(action: Action) -> ActionDefinition | None:
    return registry.get(action.name)


def _in_force(limit: str, label: str) -> Any:
    """Return the column that says what a limit is now, and what it is lowered from."""

    @admin.display(description=f"{label}, in force")
    def in_force(admin: ActionAdmin, action: Action) -> str:
        definition = _definition_of(action)
        if definition is None:
            return ""
        now, code = getattr(catalogue.limits(definition, action), limit), getattr(definition, limit)
        return _shown(now) if now == code else f"{_shown(now)} (code: {_shown(code)})"

    return in_force


def _shown(limit: object) -> str:
    return "no limit" if limit is None else f"{limit:g}" if isinstance(limit, float) else str(limit)


@admin.register(Action)
class ActionAdmin(StaffAdmin):
    """The switches and limits of the actions in the code. Code adds and removes actions, no form does."""

    timeout_in_force = _in_force("timeout_s", "seconds")
    attempts_in_force = _in_force("max_attempts", "attempts")
    concurrency_in_force = _in_force("concurrency", "inputs at once")
    batches_in_force = _in_force("max_concurrency", "batches at once")
    rate_in_force = _in_force("rate", "rate")

    verbs = ACTION_VERBS
    form = ActionForm
    list_display = (
        *("name", "title", "enabled", "paused"),
        *("timeout_in_force", "attempts_in_force", "batches_in_force", "rate_in_force", "code"),
    )
    list_filter = ("enabled", "paused")
    search_fields = ("name",)
    ordering = ("name",)
    sortable_by = ("name", "enabled", "paused")
    readonly_fields = (
        *("name", "code", "title", "description", "modes", "output_kind", "errors", "updated_at"),
        *("input_schema", "parameters_schema", "output_schema"),
        *("timeout_in_force", "attempts_in_force", "concurrency_in_force", "batches_in_force", "rate_in_force"),
    )
    fieldsets = (
        (None, {"fields": ("name", "code", "title", "description", "enabled", "paused", "updated_at")}),
        (
            "Limits",
            {
                "fields": (
                    ("timeout_s", "timeout_in_force"),
                    ("max_attempts", "attempts_in_force"),
                    ("concurrency", "concurrency_in_force"),
                    ("max_concurrency", "batches_in_force"),
                    ("rate", "rate_in_force"),
                ),
                "description": "What is set here counts where it is lower than in the code. Empty is the code's.",
            },
        ),
        (
            "In the code",
            {"fields": ("modes", "output_kind", "errors", "input_schema", "parameters_schema", "output_schema")},
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: runs name their action."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """List the actions, those included that nobody has asked for yet."""
        catalogue.sync()
        return super().changelist_view(request, extra_context)

    def save_model(self, request: HttpRequest, obj: Action, form: Any, change: bool) -> None:
        """Store what staff have set, and when."""
        obj.updated_at = timezone.now()
        super().save_model(request, obj, form, change)

    @admin.display(description="code")
    def code(self, action: Action) -> SafeString:
        """Return whether this installation has the action's code."""
        kind, text = ("good", "present") if _definition_of(action) else ("bad", "gone")
        return badge(kind, text)

    @admin.display(description="title")
    def title(self, action: Action) -> str:
        """Return the title, from the code."""
        return self._from_code(action, "title")

    @admin.display(description="description")
    def description(self, action: Action) -> str:
        """Return the description, from the code."""
        return self._from_code(action, "description")

    @admin.display(description="output")
    def output_kind(self, action: Action) -> str:
        """Return `single` or `many`."""
        return self._from_code(action, "output_kind")

    @admin.display(description="modes")
    def modes(self, action: Action) -> str:
        """Return the ways to call it."""
        return ", ".join(self._from_code(action, "modes"))

    @admin.display(description="its own errors")
    def errors(self, action: Action) -> SafeString | str:
        """Return what its labels mean."""
        return self._block(action, "errors")

    @admin.display(description="input")
    def input_schema(self, action: Action) -> SafeString | str:
        """Return the JSON Schema of an input."""
        return self._block(action, "input_schema")

    @admin.display(description="parameters")
    def parameters_schema(self, action: Action) -> SafeString | str:
        """Return the JSON Schema of the parameters."""
        return self._block(action, "parameters_schema")

    @admin.display(description="output")
    def output_schema(self, action: Action) -> SafeString | str:
        """Return the JSON Schema of an output."""
        return self._block(action, "output_schema")

    def _from_code(self, action: Action, name: str) -> Any:
        return getattr(_definition_of(action), name, "")

    def _block(self, action: Action, name: str) -> SafeString | str:
        definition = _definition_of(action)
        return json_block(dict(getattr(definition, name))) if definition else ""
