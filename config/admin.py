"""The admin's names, the system's periodic tasks, and the processes that are alive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import current_app
from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django_celery_beat.admin import PeriodicTaskInline
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)
from unfold.admin import TabularInline

from config.models import ProcessHeartbeat
from runs import doorbell
from runs.doorbell import Bell
from workspaces.staff import ReadOnlyAdmin, StaffAdmin

admin.site.index_title = "Overview"
admin.site.index_template = "config/overview.html"

# The system's tasks return by a clock: sunrise and single moments are of no use to them.
for model in (ClockedSchedule, SolarSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask):
    admin.site.unregister(model)


class PeriodicTaskForm(forms.ModelForm):  # type: ignore[type-arg]
    """When a task runs. What it is, and on which queue, stays as the settings made it."""

    class Meta:
        model = PeriodicTask
        fields = ("enabled", "interval", "crontab", "expire_seconds", "description")


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(StaffAdmin):
    """The system's own tasks, which beat sends. The settings add and remove them; how often they run is tuned here."""

    form = PeriodicTaskForm
    list_display = ("name", "enabled", "scheduler", "task", "queue", "last_run_at", "total_run_count")
    list_filter = ("enabled",)
    list_select_related = ("interval", "crontab", "solar", "clocked")
    search_fields = ("name", "task")
    ordering = ("name",)
    actions = ("enable", "disable", "run_now")
    fields = (
        *("name", "task", "queue", "enabled", "interval", "crontab", "expire_seconds", "description"),
        *("last_run_at", "total_run_count", "date_changed"),
    )
    readonly_fields = ("name", "task", "queue", "last_run_at", "total_run_count", "date_changed")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: beat makes a task of the settings again when it starts."""
        return False

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Have beat send the selected tasks."""
        self._told(request, "enabled", queryset.update(enabled=True))

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Have beat leave the selected tasks out."""
        # Without its last run, a task that is enabled again does not count the time between as missed.
        self._told(request, "disabled", queryset.update(enabled=False, last_run_at=None))

    @admin.action(description="Run now", permissions=["change"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Send the selected tasks once."""
        for task in queryset:
            bell = Bell(task.queue or current_app.conf.task_default_queue, task.task)
            if doorbell.ring(bell=bell):
                self.message_user(request, f"{task.name}: sent to {bell.queue}.", messages.SUCCESS)
            else:
                self.message_user(request, f"{task.name}: the broker did not take it.", messages.ERROR)

    def _told(self, request: HttpRequest, what: str, count: int) -> None:
        PeriodicTasks.update_changed()
        self.message_user(request, f"{count} {what}.", messages.SUCCESS)


class TasksOfClock(PeriodicTaskInline, TabularInline):
    """The tasks that run by a clock, to look at."""

    fields = ("name", "task", "enabled", "last_run_at")
    readonly_fields = fields
    verbose_name = "task that runs by it"
    verbose_name_plural = "tasks that run by it"


class ClockAdmin(StaffAdmin):
    """Clocks that periodic tasks run by. None is deleted: its tasks would go with it."""

    inlines = (TasksOfClock,)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False


class IntervalForm(forms.ModelForm):  # type: ignore[type-arg]
    """An interval that beat can reckon with, and keep."""

    SHORTEST, LONGEST = timedelta(seconds=0.1), timedelta(days=365)

    class Meta:
        model = IntervalSchedule
        fields = ("every", "period")

    def clean(self) -> dict[str, Any]:
        """Refuse an interval that is below a tenth of a second or over a year."""
        given = super().clean() or self.cleaned_data
        if {"every", "period"} <= given.keys():
            unit = timedelta(**{given["period"]: 1})
            if not self.SHORTEST / unit <= given["every"] <= self.LONGEST / unit:
                self.add_error("every", "An interval is from a tenth of a second to a year (365 days).")
        return given


@admin.register(IntervalSchedule)
class IntervalAdmin(ClockAdmin):
    """Every so many seconds, minutes, hours or days."""

    form = IntervalForm
    ordering = ("period", "every")


@admin.register(CrontabSchedule)
class CrontabAdmin(ClockAdmin):
    """Times of day, as cron says them."""

    list_display = ("__str__", "human_readable")
    fields = ("human_readable", "minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")
    readonly_fields = ("human_readable",)


@admin.register(ProcessHeartbeat)
class ProcessHeartbeatAdmin(ReadOnlyAdmin):
    """Workers and beat, with their last sign of life. Those that are gone for good stay in the list for a while."""

    list_display = ("name", "role", "seen_at")
    list_filter = ("role",)
    ordering = ("-seen_at",)
