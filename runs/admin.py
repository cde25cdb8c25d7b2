"""Runs, as staff see them. No form changes a run: its status moves in `runs.lifecycle` only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from actions.models import Action
from runs import admin_launch, admin_pages
from runs.models import Run, RunStatus
from runs.search import search
from workspaces.markup import json_block
from workspaces.staff import BoundedChangeList, ReadOnlyAdmin, WorkspaceFilter

BADGES = {
    RunStatus.SUCCEEDED: "good",
    RunStatus.PARTIAL_SUCCEEDED: "mixed",
    RunStatus.FAILED: "bad",
    RunStatus.INVALID: "bad",
    RunStatus.RUNNING: "moving",
    RunStatus.STOPPED: "mixed",
}
Page = Callable[[Run, QueryDict], dict[str, Any]]


class ActionFilter(admin.SimpleListFilter):
    """The runs of one action."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the actions that have a row."""
        return [(name, name) for name in Action.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of the action chosen."""
        if not self.value():
            return queryset
        # By the key, which is indexed without the workspace. Its value, for PostgreSQL to know how many runs it has:
        # behind a join, those of an action with few or none were looked for among all.
        action = Action.objects.filter(name=self.value()).values_list("pk", flat=True).first()
        return queryset.filter(action=action) if action else queryset.none()


class CreatedFilter(admin.SimpleListFilter):
    """The runs of the last while, or those before."""

    title = "created"
    parameter_name = "created"
    spans: ClassVar = {
        "hour": ("In the last hour", timedelta(hours=1)),
        "day": ("In the last 24 hours", timedelta(days=1)),
        "week": ("In the last 7 days", timedelta(days=7)),
        "before-day": ("Before the last 24 hours", timedelta(days=1)),
        "before-week": ("Before the last 7 days", timedelta(days=7)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the spans that can be chosen."""
        return [(name, text) for name, (text, _) in self.spans.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs of the span chosen."""
        name = self.value()
        if name not in self.spans:
            return queryset
        since = timezone.now() - self.spans[name][1]
        return (
            queryset.filter(created_at__lt=since)
            if name.startswith("before")
            else queryset.filter(created_at__gte=since)
        )


class RunList(BoundedChangeList):
    """The list reads of each run what it shows, and leaves what may be large."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Any]:
        """Return the runs asked for, with the label of their error."""
        runs = super().get_queryset(request, exclude_parameters)
        return runs.defer("parameters", "identity_ids", "last_error").annotate(error_label=KT("last_error__label"))


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, the latest first; of one run its timeline, batches, inputs and outputs."""

    workspace_path = "workspace"
    list_display = (
        "action_name",
        "shown_status",
        "shown_progress",
        "created_at",
        "duration",
        "error",
        "name",
        "shown_tags",
        "workspace",
        "user",
        "mode",
    )
    list_select_related = ("progress", "workspace", "user")
    list_filter = ("status", "execution_mode", CreatedFilter, ActionFilter, WorkspaceFilter)
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("name",)
    search_help_text = "A uid, a tag, or a part of the name of one of the latest 10,000 runs."
    fieldsets = (
        (None, {"fields": ("shown_uid", "action", "shown_status", "shown_progress", "counts", "shown_error")}),
        (
            "What was asked for",
            {"fields": ("execution_mode", "workspace", "user", "name", "shown_tags", "schedule", "shown_parameters")},
        ),
        (
            "When",
            {"fields": ("created_at", "postponed_until", "started_at", "finished_at", "duration", "updated_at")},
        ),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return RunList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the runs that the person signed in may see, with all that names them."""
        return super().get_queryset(request).select_related("progress", "workspace", "user", "action")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search on indexes, or in a bounded number of rows."""
        if "\0" in search_term:
            return queryset.none(), False
        return (search(queryset, search_term) if search_term.strip() else queryset), False

    def get_urls(self) -> list[URLPattern]:
        """Add the pages below a run."""
        below = [
            self._below(page.__name__, page) for page in (admin_pages.inputs, admin_pages.outputs, admin_pages.timeline)
        ]
        return [*admin_launch.paths(self), *below, *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the run's timeline and batches to its page."""
        run = context["original"]
        context |= {**admin_pages.timeline(run), "batches": admin_pages.batches(run)}
        return super().render_change_form(request, context, *args, **kwargs)

    def _below(self, name: str, page: Page) -> URLPattern:
        """Return the path of a page below a run, which shows what `page` returns."""

        def view(request: HttpRequest, object_id: str) -> HttpResponseBase:
            if not self.has_view_permission(request):
                raise PermissionDenied
            run = self.get_object(request, unquote(object_id))
            if run is None:
                return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            context = self.page_context(request, name.capitalize(), original=run, **page(run, request.GET))
            return TemplateResponse(request, f"admin/runs/run/{name}.html", context)

        return path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"runs_run_{name}")

    @admin.display(description="uid")
    def shown_uid(self, run: Run) -> SafeString:
        """Return what the API names the run by."""
        return format_html('<code class="uid">{}</code>', run.uid)

    @admin.display(description="status")
    def shown_status(self, run: Run) -> SafeString:
        """Return the status, in its colour."""
        kind = BADGES.get(RunStatus(run.status), "waiting")
        return format_html('<span class="badge badge-{}">{}</span>', kind, run.status)

    @admin.display(description="progress")
    def shown_progress(self, run: Run) -> SafeString:
        """Return how many of the inputs have a result, and how many failed."""
        progress = run.progress
        ended = progress.input_count - progress.remaining
        failed = progress.failed_count + progress.invalid_count
        return format_html(
            '<progress class="run-progress" value="{}" max="{}"></progress> <span class="figures">{} of {}{}</span>',
            *(ended, progress.input_count, f"{ended:,}", f"{progress.input_count:,}"),
            f", {failed:,} failed" if failed else "",
        )

    @admin.display(description="inputs")
    def counts(self, run: Run) -> str:
        """Return the run's numbers."""
        p = run.progress
        return (
            f"{p.input_count:,}: {p.succeeded_count:,} succeeded, {p.failed_count:,} failed,"
            f" {p.invalid_count:,} invalid, {p.remaining:,} without a result;"
            f" {p.output_count:,} outputs, {p.retry_count:,} retries"
        )

    @admin.display(description="error")
    def error(self, run: Any) -> str:
        """Return the label of the error, which the list has read of each run."""
        return run.error_label or "-"

    @admin.display(description="error")
    def shown_error(self, run: Run) -> SafeString | str:
        """Return the run's error, whole."""
        return json_block(run.last_error) if run.last_error else "-"

    @admin.display(description="tags")
    def shown_tags(self, run: Run) -> str:
        """Return the run's tags."""
        return ", ".join(run.tags) or "-"

    @admin.display(description="parameters")
    def shown_parameters(self, run: Run) -> SafeString:
        """Return the parameters of the call."""
        return json_block(run.parameters)

    @admin.display(description="mode")
    def mode(self, run: Run) -> str:
        """Return the execution mode, under a heading as short as it is."""
        return run.execution_mode

    @admin.display(description="schedule")
    def schedule(self, run: Run) -> str:
        """Return the schedule that launched the run."""
        return f"{run.schedule_name} {run.schedule_uid}".strip() if run.schedule_uid else "-"

    @admin.display(description="took")
    def duration(self, run: Run) -> str:
        """Return the time from the first claim to the end."""
        if run.started_at is None or run.finished_at is None:
            return "-"
        return _duration(run.finished_at - run.started_at)


def _duration(span: timedelta) -> str:
    """Return a time span to two parts: "2 h 5 min", "3.2 s"."""
    seconds = span.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    return f"{minutes} min {int(seconds % 60)} s" if not hours else f"{hours:,} h {minutes % 60} min"
