"""When runs start again: a schedule with all that its runs begin with, and what became of each due time.

`schedules.lifecycle` moves a schedule's status, `schedules.firing` claims what is due, and `schedules.settling` writes
what became of it. Querysets here ask and never change.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from actions.models import Action
from runs.models import CallbackOn, CallbackPer, InputSet, OrderedJSONField
from schedules.due_times import Timing
from webhooks.models import Destination
from workspaces.models import User, Workspace


class ScheduleStatus(models.TextChoices):
    """The life of a schedule (contract section 4)."""

    ACTIVE = "ACTIVE"  # fires at `next_execution_at`
    PAUSED = "PAUSED"  # fires nothing until it is resumed; what is due meanwhile is not caught up
    CANCELLED = "CANCELLED"  # fires nothing any more
    COMPLETED = "COMPLETED"  # has fired all it had to


class Overlap(models.TextChoices):
    """Whether a due time fires while the last run is unfinished."""

    ALLOW = "allow"
    SKIP = "skip"


class CatchUp(models.TextChoices):
    """What becomes of due times that were missed: claimed over 60 s late."""

    ONE = "one"  # one run for all of them
    NONE = "none"
    ALL = "all"  # a run for each of the last hundred


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def of(self, workspace: Workspace) -> Self:
        return self.filter(workspace=workspace)

    def as_shown(self) -> Self:
        """With all that the schedule object shows, in one query. A callback's headers stay where they are stored."""
        rows = self.select_related("user", "workspace", "input_set", "destination")
        return rows.defer("destination__headers")

    def unfinished(self) -> Self:
        """Schedules that fire, or may fire again."""
        return self.filter(status__in=[ScheduleStatus.ACTIVE, ScheduleStatus.PAUSED])

    def due(self, now: datetime | None = None) -> Self:
        """Schedules whose time has come, by the database's clock or at `now`, those that wait longest first."""
        due = self.filter(status=ScheduleStatus.ACTIVE, next_execution_at__lte=now or Now())
        return due.order_by("next_execution_at")


class Schedule(models.Model):
    """When to launch an action again, and with what. Its runs share its inputs and copy the rest."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    action = models.ForeignKey(Action, on_delete=models.PROTECT, related_name="+")
    action_name = models.CharField(max_length=100)
    name = models.CharField(max_length=255, blank=True)
    tags = ArrayField(models.CharField(max_length=64), default=list)

    status = models.CharField(max_length=10, choices=ScheduleStatus, default=ScheduleStatus.ACTIVE)
    cron = models.CharField(max_length=255, blank=True)
    timezone = models.CharField(max_length=64, default="UTC")
    schedule_at = models.DateTimeField(null=True)
    starts_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True)
    overlap = models.CharField(max_length=5, choices=Overlap, default=Overlap.ALLOW)
    catch_up = models.CharField(max_length=4, choices=CatchUp, default=CatchUp.ONE)

    next_execution_at = models.DateTimeField(null=True)
    last_execution_at = models.DateTimeField(null=True)
    last_run_uid = models.UUIDField(null=True)
    missed_count = models.PositiveIntegerField(default=0, help_text="Due times that launched nothing.")
    last_error = OrderedJSONField(null=True)

    parameters = OrderedJSONField(default=dict)
    identity_ids = OrderedJSONField(null=True, help_text="Handed to the action; means nothing here.")
    identity_mode = models.CharField(max_length=8, blank=True)
    input_set = models.ForeignKey(InputSet, on_delete=models.PROTECT, related_name="+")
    batch_size = models.PositiveIntegerField()
    destination = models.ForeignKey(Destination, null=True, on_delete=models.PROTECT, related_name="+")
    callback_on = models.CharField(max_length=5, choices=CallbackOn, blank=True)
    callback_per = models.CharField(max_length=5, choices=CallbackPer, blank=True)

    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(help_text="The last change of status or settings; firing is none.")

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(status__in=ScheduleStatus.values), name="schedule_status_known"),
            models.CheckConstraint(condition=models.Q(overlap__in=Overlap.values), name="schedule_overlap_known"),
            models.CheckConstraint(condition=models.Q(catch_up__in=CatchUp.values), name="schedule_catch_up_known"),
            models.CheckConstraint(
                condition=~models.Q(cron="") | models.Q(schedule_at__isnull=False), name="schedule_has_a_time"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_execution_at"],
                name="schedule_due",
                condition=models.Q(status=ScheduleStatus.ACTIVE, next_execution_at__isnull=False),
            ),
            models.Index(fields=["workspace", "-created_at", "-id"], name="schedule_newest"),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.action_name} {self.uid}"

    @property
    def timing(self) -> Timing:
        """When it is due."""
        return Timing(self.cron or None, self.timezone, self.schedule_at, self.starts_at, self.ends_at)


class FireKind(models.TextChoices):
    """What became of a due time."""

    FIRED = "FIRED"  # a run was launched
    TRIGGERED = "TRIGGERED"  # by a person, at no due time
    SKIPPED = "SKIPPED"  # the last run was unfinished (`overlap: skip`)
    MISSED = "MISSED"  # nobody fired it in time, and it was not caught up


class Fire(models.Model):
    """One line of a schedule's timeline: what became of a due time, or of several in a row that were missed.

    Unique by schedule and due time, so that no time fires twice, whoever fires. The run is named by uid: it may be
    deleted before.
    """

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="fires", db_index=False)
    kind = models.CharField(max_length=9, choices=FireKind)
    due_at = models.DateTimeField(null=True)
    at = models.DateTimeField(help_text="When it was claimed; minus `due_at` it is how late.")
    count = models.PositiveIntegerField(default=1, help_text="Of due times, `due_at` the last of them.")
    run_uid = models.UUIDField(null=True)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["schedule", "due_at"], name="fire_unique"),
        ]
        indexes: ClassVar = [models.Index(fields=["at"], name="fire_at")]


class FireTotal(models.Model):
    """How much of each kind there has been since the beginning, and how late: lines are deleted, this stays."""

    kind = models.CharField(max_length=9, choices=FireKind, primary_key=True)
    count = models.PositiveBigIntegerField(default=0)
    late_s = models.FloatField(default=0)
    late_counts = ArrayField(models.BigIntegerField(), default=list, help_text="By the bounds of `schedules.totals`.")
