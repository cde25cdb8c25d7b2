"""Schedules, as staff see them. No form changes one: its status moves in `schedules.lifecycle` only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import DurationField, ExpressionWrapper, F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs.admin import ActionFilter
from schedules import admin_pages
from schedules.admin_verbs import SCHEDULE_VERBS
from schedules.clock import database_time
from schedules.models import Fire, FireKind, Schedule, ScheduleStatus
from workspaces.markup import badge, json_block
from workspaces.staff import BoundedChangeList, ReadOnlyAdmin, WorkspaceFilter

BADGES: dict[str, str] = {
    ScheduleStatus.ACTIVE: "moving",
    ScheduleStatus.PAUSED: "mixed",
    ScheduleStatus.COMPLETED: "good",
}


class ScheduleList(BoundedChangeList):
    """The list leaves what may be large, and reads what became of the last due time."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Any]:
        """Return the schedules asked for, each with the kind of its last line and how late that was."""
        schedules = super().get_queryset(request, exclude_parameters)
        last = Fire.objects.filter(schedule=OuterRef("pk"), due_at__isnull=False).order_by("-due_at")
        late = ExpressionWrapper(F("at") - F("due_at"), output_field=DurationField())
        return schedules.defer("parameters", "identity_ids", "last_error").annotate(
            last_kind=Subquery(last.values("kind")[:1]), last_late=Subquery(last.values(late=late)[:1])
        )


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    """Schedules, the latest first; of one when it is due next, and what became of its due times."""

    workspace_path = "workspace"
    verbs = SCHEDULE_VERBS
    list_display = (
        "action_name",
        "shown_status",
        "shown_when",
        "shown_next",
        "last_execution_at",
        "shown_last",
        "missed_count",
        "name",
        "workspace",
        "user",
    )
    list_select_related = ("workspace", "user")
    list_filter = ("status", ActionFilter, WorkspaceFilter)
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("name",)
    search_help_text = "A uid, or a part of a name."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    *("shown_uid", "action", "shown_status", "shown_next", "last_execution_at", "last_run"),
                    *("missed_count", "shown_error"),
                )
            },
        ),
        (
            "When",
            {
                "fields": (
                    *("shown_cron", "timezone", "schedule_at", "starts_at", "ends_at", "rules"),
                    *("created_at", "updated_at"),
                )
            },
        ),
        (
            "What its runs begin with",
            {"fields": ("workspace", "user", "name", "shown_tags", "inputs", "calls_back", "shown_parameters")},
        ),
    )

    class Media:
        css = {"all": ["schedules/schedule.css"]}
        js = ["schedules/viewer_clock.js"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return ScheduleList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the schedules that the person signed in may see."""
        return super().get_queryset(request).select_related("workspace", "user", "action", "input_set")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by uid, or by name."""
        try:
            return queryset.filter(uid=UUID(search_term.strip())), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what is due next and what became of earlier due times to a schedule's page."""
        schedule, now = context["original"], database_time()
        fires = admin_pages.latest(schedule)
        context |= {
            "due_times": admin_pages.next_due(schedule, now),
            "in_words": admin_pages.in_words(schedule),
            "fires": fires,
            "fires_shown": admin_pages.FIRES_SHOWN,
            "strip": admin_pages.strip(fires, now),
            "legend": admin_pages.legend(fires),
            "lateness": admin_pages.lateness(fires),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="uid")
    def shown_uid(self, schedule: Schedule) -> SafeString:
        """Return what the API names the schedule by."""
        return format_html('<code class="uid">{}</code>', schedule.uid)

    @admin.display(description="status")
    def shown_status(self, schedule: Schedule) -> SafeString:
        """Return the status, in its colour."""
        return _badge(schedule.status)

    @admin.display(description="when")
    def shown_when(self, schedule: Schedule) -> SafeString:
        """Return when it fires, in words; and its cron expression and time zone."""
        return format_html(
            '<div class="when stored-text">{} <span class="help">{} {}</span></div>',
            admin_pages.in_words(schedule),
            format_html("<code>{}</code>", schedule.cron) if schedule.cron else "",
            schedule.timezone,
        )

    @admin.display(description="cron")
    def shown_cron(self, schedule: Schedule) -> SafeString | str:
        """Return the cron expression, and what it means."""
        if not schedule.cron:
            return "-"
        return format_html("<code>{}</code> {}", schedule.cron, admin_pages.in_words(schedule))

    @admin.display(description="next")
    def shown_next(self, schedule: Schedule) -> SafeString | str:
        """Return the next due time, and for how long it has been overdue."""
        due_at = schedule.next_execution_at
        if due_at is None:
            return "-"
        shown = format_html('<span class="figures">{}</span>', date_format(due_at, "DATETIME_FORMAT"))
        overdue = admin_pages.overdue(schedule, timezone.now())
        if not overdue:
            return shown
        return format_html("{} {}", shown, badge("bad", f"overdue by {overdue}"))

    @admin.display(description="last fire")
    def shown_last(self, schedule: Any) -> SafeString | str:
        """Return what became of the last due time, and how late it was, which the list has read of each schedule."""
        if schedule.last_kind is None:
            return "-"
        late = max(schedule.last_late, timedelta())
        word, kind = admin_pages.word_and_kind(schedule.last_kind, late)
        shown = badge(kind, word)
        if schedule.last_kind != FireKind.FIRED:
            return shown
        return format_html('{} <span class="help figures">+{}</span>', shown, admin_pages.span(late))

    @admin.display(description="rules")
    def rules(self, schedule: Schedule) -> str:
        """Return what becomes of due times that get in the way of others, or were missed."""
        return f"overlap {schedule.overlap}, catch_up {schedule.catch_up}"

    @admin.display(description="last run")
    def last_run(self, schedule: Schedule) -> SafeString | str:
        """Return a link to the run that was launched last."""
        return _run_link(schedule.last_run_uid)

    @admin.display(description="error")
    def shown_error(self, schedule: Schedule) -> SafeString | str:
        """Return the schedule's error, whole."""
        return json_block(schedule.last_error) if schedule.last_error else "-"

    @admin.display(description="tags")
    def shown_tags(self, schedule: Schedule) -> str:
        """Return the tags of its runs."""
        return ", ".join(schedule.tags) or "-"

    @admin.display(description="inputs")
    def inputs(self, schedule: Schedule) -> str:
        """Return how many inputs each run has."""
        kept = schedule.input_set
        return f"{kept.input_count:,}" + (f", {kept.invalid_count:,} of them invalid" if kept.invalid_count else "")

    @admin.display(description="calls back")
    def calls_back(self, schedule: Schedule) -> str:
        """Return where its runs call back: what a URL has behind its host may be a secret."""
        if schedule.destination is None:
            return "-"
        return f"{schedule.destination.receiver.origin}, on {schedule.callback_on}, per {schedule.callback_per}"

    @admin.display(description="parameters")
    def shown_parameters(self, schedule: Schedule) -> SafeString:
        """Return the parameters of its runs."""
        return json_block(schedule.parameters)


def _badge(status: str) -> SafeString:
    return badge(BADGES.get(status, "waiting"), status)


def _run_link(uid: UUID | None) -> SafeString | str:
    """Return a link that finds the run, which may have been deleted."""
    if uid is None:
        return "-"
    path = f"{reverse('admin:runs_run_changelist')}?q={uid}"
    return format_html('<a class="uid" href="{}">{}</a>', path, uid)
