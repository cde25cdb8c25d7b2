"""A run: its life, its numbers, its timeline, and the runs it waits for."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from uuid_utils.compat import uuid7

from actions.models import Action
from runs.models.fields import OrderedJSONField
from runs.models.inputs import InputSet
from workspaces.models import User, Workspace


class ExecutionMode(models.TextChoices):
    LIVE = "LIVE"
    ASYNC = "ASYNC"


class RunStatus(models.TextChoices):
    """The life of a run (contract section 2). `runs.lifecycle` holds the allowed transitions."""

    CREATED = "CREATED"  # stored, not yet queued
    INVALID = "INVALID"  # cannot run: bad inputs or parameters
    QUEUED = "QUEUED"  # waits for a worker
    SCHEDULED = "SCHEDULED"  # waits for a time: `start_after`, or retries
    BLOCKED = "BLOCKED"  # waits for a dependency or a limit
    STOPPED = "STOPPED"  # stopped before the end; can be resumed
    RUNNING = "RUNNING"
    FAILED = "FAILED"  # ended: no input succeeded
    PARTIAL_SUCCEEDED = "PARTIAL_SUCCEEDED"  # ended: some did
    SUCCEEDED = "SUCCEEDED"  # ended: all did


TERMINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.PARTIAL_SUCCEEDED, RunStatus.FAILED, RunStatus.INVALID})
HAS_ENDED = models.Q(status__in=sorted(TERMINAL))  # sorted: an index serves the very words it was made with
HAS_ENDED_SQL = f"status IN ({', '.join(repr(str(status.value)) for status in sorted(TERMINAL))})"
IS_UNFINISHED = ~HAS_ENDED
CREATION = ("created_at", "id")
"""The order in which runs were created."""
EXECUTABLE = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
CLAIMABLE = EXECUTABLE | {RunStatus.BLOCKED}  # by a limit, which may be open again before anybody says so


class RunQuerySet(models.QuerySet["Run"]):
    def of(self, workspace: Workspace) -> Self:
        return self.filter(workspace=workspace)

    def with_progress(self) -> Self:
        """With all that the run object shows, in one query."""
        runs = self.select_related("progress", "user", "workspace", "callback__destination")
        return runs.defer("callback__destination__headers")

    def for_status(self) -> Self:
        """With what a run's status shows, and nothing large."""
        times = ("postponed_until", "started_at", "finished_at", "created_at", "updated_at")
        return self.select_related("progress").only("uid", "status", *times, "progress")

    def for_contents(self) -> Self:
        """With what reading its inputs, outputs or timeline takes, and nothing large."""
        shown = ("status", "last_error", "action_name", "created_at", "updated_at")
        return self.select_related("progress").only("uid", "input_set", *shown, "progress")

    def for_answer(self) -> Self:
        """With what the answer of a live call shows."""
        return self.select_related("progress").only(
            "uid", "status", "last_error", "action_name", "created_at", "progress"
        )

    def places(self) -> Self:
        """With what says where a run stands in line, and nothing large."""
        return self.only("id", "uid", "workspace_id", "action_id")

    def waiting_live(self) -> Self:
        """Live calls that no worker has taken yet, oldest first."""
        waiting = self.filter(execution_mode=ExecutionMode.LIVE, status=RunStatus.QUEUED)
        return waiting.order_by("created_at", "id")

    def unfinished(self) -> Self:
        return self.filter(IS_UNFINISHED)

    def claimable(self) -> Self:
        """Runs whose ready batches workers may claim, as far as limits allow: they wait for no other run."""
        unmet = Dependency.objects.filter(run=models.OuterRef("pk"))
        return self.filter(~models.Exists(unmet), status__in=CLAIMABLE)

    def due(self, now: datetime) -> Self:
        """Runs whose time has come at `now`: `start_after` has passed, or a retry is due."""
        return self.filter(status=RunStatus.SCHEDULED, postponed_until__lte=now)

    def ended_before(self, moment: datetime) -> Self:
        """Runs that ended before then, those that ended first before the others, without anything large."""
        ended = self.filter(HAS_ENDED, finished_at__lt=moment)
        return ended.only("id", "uid").order_by("finished_at")


class Run(models.Model):
    """One call of an action: live on one input, or async on up to 100,000. Its counts stand in `RunProgress`."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    action = models.ForeignKey(Action, on_delete=models.PROTECT, related_name="+")
    action_name = models.CharField(max_length=100)
    execution_mode = models.CharField(max_length=8, choices=ExecutionMode)
    status = models.CharField(max_length=20, choices=RunStatus, default=RunStatus.CREATED)
    last_error = OrderedJSONField(null=True)

    name = models.CharField(max_length=255, blank=True)
    tags = ArrayField(models.CharField(max_length=64), default=list)
    parameters = OrderedJSONField(default=dict)
    identity_ids = OrderedJSONField(null=True, help_text="Handed to the action; means nothing here.")
    identity_mode = models.CharField(max_length=8, blank=True)
    input_set = models.ForeignKey(InputSet, on_delete=models.PROTECT, related_name="runs")
    batch_size = models.PositiveIntegerField()
    depends_on = ArrayField(models.UUIDField(), default=list, db_default=[])
    traceparent = models.CharField(
        max_length=55,
        blank=True,
        default="",
        db_default="",
        help_text="Of the request that launched it (W3C Trace Context), or of our own trace of it.",
    )

    # The schedule stands above this app: it is named by uid, never by a foreign key.
    schedule_uid = models.UUIDField(null=True)
    schedule_name = models.CharField(max_length=255, blank=True)

    postponed_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(help_text="The last change of status or settings; counts move without it.")

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(status__in=RunStatus.values), name="run_status_known"),
            models.CheckConstraint(
                condition=models.Q(execution_mode__in=ExecutionMode.values), name="run_execution_mode_known"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-created_at", "-id"], name="run_newest"),
            # Each serves a filter in order of creation, read from either end, and a sort.
            models.Index(fields=["workspace", "status", *CREATION], name="run_status_created"),
            models.Index(fields=["workspace", "action_name", *CREATION], name="run_action_created"),
            models.Index(fields=["workspace", "execution_mode", *CREATION], name="run_mode_created"),
            models.Index(fields=["workspace", "user", *CREATION], name="run_user_created"),
            models.Index(fields=["workspace", "updated_at", *CREATION], name="run_updated"),
            models.Index(fields=["workspace", "started_at", *CREATION], name="run_started"),
            models.Index(fields=["workspace", "finished_at", *CREATION], name="run_finished"),
            # Several filters at once, and above all how many runs pass them.
            models.Index(
                fields=["workspace", "status", "action_name", "execution_mode", "user", *CREATION], name="run_filtered"
            ),
            models.Index(
                fields=["schedule_uid", *CREATION],
                name="run_schedule_created",
                include=["workspace"],
                condition=models.Q(schedule_uid__isnull=False),
            ),
            models.Index(
                fields=["postponed_until"],
                name="run_postponed",
                condition=models.Q(status=RunStatus.SCHEDULED),
            ),
            models.Index(
                fields=["workspace"],
                name="run_unfinished",
                condition=IS_UNFINISHED,
            ),
            models.Index(
                fields=["created_at", "id"],
                name="run_waiting_live",
                condition=models.Q(execution_mode=ExecutionMode.LIVE, status=RunStatus.QUEUED),
            ),
            models.Index(fields=["finished_at"], name="run_ended", condition=HAS_ENDED),
            GinIndex(fields=["tags"], name="run_by_tag"),
        ]

    def __str__(self) -> str:
        return f"{self.action_name} {self.uid}"


class RunProgress(models.Model):
    """The numbers of a run that move while it executes, in a narrow row of their own without indexes.

    `epoch` is the fence: whoever may not record any more has an older one. `remaining` at 0 ends the run.
    `generation` tells the results of a resume from those it replaces. `failures_in_row` counts from the launch or the
    last resume. `stored_bytes` are those of the results.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="progress")
    epoch = models.PositiveIntegerField(default=0)
    generation = models.PositiveIntegerField(default=0)
    input_count = models.PositiveIntegerField()
    invalid_count = models.PositiveIntegerField(default=0)
    succeeded_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    remaining = models.PositiveIntegerField()
    output_count = models.PositiveBigIntegerField(default=0)
    retry_count = models.PositiveIntegerField(default=0)
    # No fields with a check constraint: adding one would read the whole table under its lock.
    failures_in_row = models.IntegerField(default=0, db_default=0)
    stored_bytes = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(
                    input_count=models.F("remaining")
                    + models.F("invalid_count")
                    + models.F("succeeded_count")
                    + models.F("failed_count")
                ),
                name="run_progress_adds_up",
            ),
        ]


class Actor(models.TextChoices):
    """Who moved a run."""

    MEMBER = "member"
    SCHEDULE = "schedule"
    SYSTEM = "system"


class RunTransition(models.Model):
    """One line of a run's timeline, written in the transaction that moved the status."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="transitions")
    at = models.DateTimeField()
    from_status = models.CharField(max_length=20, choices=RunStatus, null=True)
    to_status = models.CharField(max_length=20, choices=RunStatus)
    actor = models.CharField(max_length=8, choices=Actor)
    actor_uid = models.UUIDField(null=True, help_text="The member's user uid, or the schedule's uid.")
    reason = models.CharField(max_length=500, blank=True)


class Dependency(models.Model):
    """A run that `run` still waits for, named by its uid: it may be deleted. The row goes once it is met.

    `is_due` asks for a look at it: whoever moves the other run sets it, and who has looked clears it.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="unmet_dependencies", db_index=False)
    depends_on_uid = models.UUIDField(db_index=True)
    is_due = models.BooleanField(default=True)
    is_met = models.BooleanField(default=False, help_text="It has succeeded, and nobody has looked yet.")

    class Meta:
        verbose_name_plural = "dependencies"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "depends_on_uid"], name="dependency_unique"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["run"], name="dependency_due", condition=models.Q(is_due=True)),
        ]
