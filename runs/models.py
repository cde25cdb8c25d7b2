"""What happened: a run, its inputs, the batches they are executed in, the results, and the run's timeline.

The tables are written by one module each: `launch` makes a run and all it starts with, `lifecycle` moves a run's
status, `dispatch` a batch's, `checkpoint` appends results and moves the counters, which `resumption` takes back for
what runs again, `dependencies` whom a run waits for, and `outbox` what is to be called back. `deletion` takes a run
away. Querysets here ask and never change.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Now
from psycopg.types.json import Json
from uuid_utils.compat import uuid7

from actions.models import Action
from webhooks.models import Destination
from workspaces.models import User, Workspace


class OrderedJSONField(models.JSONField):
    """JSON kept as text: keys come back in the order they were sent in, which `jsonb` does not promise."""

    def db_type(self, connection: Any) -> str:
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value  # psycopg parses `json` itself

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else Json(value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return self.get_db_prep_value(value, connection)


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
IS_UNFINISHED = ~HAS_ENDED
CREATION = ("created_at", "id")
"""The order in which runs were created."""
EXECUTABLE = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
CLAIMABLE = EXECUTABLE | {RunStatus.BLOCKED}  # by a limit, which may be open again before anybody says so


class InputSet(models.Model):
    """The inputs of one launch, stored once. Every run of a schedule refers to the same set."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    input_count = models.PositiveIntegerField()
    invalid_count = models.PositiveIntegerField(default=0)
    stored_bytes = models.BigIntegerField(default=0)
    is_kept = models.BooleanField(default=False, db_default=False, help_text="A schedule has it, with or without runs.")
    created_at = models.DateTimeField(auto_now_add=True)


class InputChunk(models.Model):
    """Some hundred inputs in one row, as `runs.chunks` packs them: exactly those of one batch."""

    input_set = models.ForeignKey(InputSet, on_delete=models.CASCADE, related_name="chunks")
    first_index = models.PositiveIntegerField()
    input_count = models.PositiveIntegerField()
    invalid_count = models.PositiveIntegerField(default=0)
    inputs = models.BinaryField(help_text="Packed lines: each input without its custom_data.")
    custom_data = models.BinaryField(null=True, help_text="Packed lines, or null where no input carries any.")
    invalid = models.BinaryField(null=True, help_text="Packed JSON: the error of each invalid input by its offset.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["input_set", "first_index"], name="input_chunk_place_unique"),
        ]


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


class BatchStatus(models.TextChoices):
    """The life of a batch: READY and LEASED alternate until every input has a result."""

    READY = "READY"  # a worker may claim it
    LEASED = "LEASED"  # in a worker's hands until `leased_until`
    WAITING = "WAITING"  # all that is left waits for a retry, until `ready_at`
    DONE = "DONE"  # every input has a result


class BatchQuerySet(models.QuerySet["Batch"]):
    def of_live_calls(self) -> Self:
        """The batches of live calls in a worker's hands: each is one input, and its caller waits."""
        leased = self.filter(status=BatchStatus.LEASED, run__execution_mode=ExecutionMode.LIVE)
        return leased.select_related("run__action")

    def overdue(self) -> Self:
        """Batches whose lease has run out, by the database's clock."""
        return self.filter(leased_until__lt=Now())


class Batch(models.Model):
    """A stretch of a run's inputs that one worker executes at a time.

    `attempt` is the fence of a claim: it grows with each, and a checkpoint names the one it was made under.
    `checkpoint` grows with each checkpoint, which makes repeating one whose commit is unknown harmless.
    `done` has a bit for each input that has a result (bit n of byte n // 8, lowest first), invalid ones included.
    A batch that crashed is `careful`: its inputs are executed one by one, and `suspect` is the offset of the one in
    hand, from before it is executed until a checkpoint has what became of it (`runs.careful`).
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="batches", db_index=False)
    chunk = models.ForeignKey(InputChunk, on_delete=models.PROTECT, related_name="+")
    first_index = models.PositiveIntegerField()
    input_count = models.PositiveIntegerField()
    status = models.CharField(max_length=8, choices=BatchStatus, default=BatchStatus.READY)
    attempt = models.PositiveIntegerField(default=0)
    checkpoint = models.PositiveIntegerField(default=0)
    leased_until = models.DateTimeField(null=True)
    worker = models.CharField(max_length=255, blank=True)
    ready_at = models.DateTimeField(null=True)
    crash_count = models.PositiveSmallIntegerField(default=0)
    # No field with a check constraint among these five: adding it would read the whole table under its lock.
    careful = models.BooleanField(default=False, db_default=False)
    suspect = models.IntegerField(null=True)
    suspect_since = models.DateTimeField(null=True)
    suspect_died_at = models.DateTimeField(null=True, help_text="When its process was found dead, if it was.")
    suspect_deaths = models.SmallIntegerField(default=0, db_default=0)
    done = models.BinaryField()
    retries = OrderedJSONField(
        null=True,
        help_text='Of inputs that asked to be tried again: {offset: {"attempts": n, "due_at": seconds, "deaths": n}}.',
    )

    objects = BatchQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "first_index"], name="batch_place_unique"),
            models.CheckConstraint(condition=models.Q(status__in=BatchStatus.values), name="batch_status_known"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["run", "first_index"], name="batch_ready", condition=models.Q(status=BatchStatus.READY)
            ),
            models.Index(fields=["leased_until"], name="batch_leased", condition=models.Q(status=BatchStatus.LEASED)),
            models.Index(fields=["ready_at"], name="batch_waiting", condition=models.Q(status=BatchStatus.WAITING)),
            models.Index(
                fields=["run", "ready_at"], name="batch_waiting_of_run", condition=models.Q(status=BatchStatus.WAITING)
            ),
        ]


class ResultChunk(models.Model):
    """The results of one checkpoint. Append-only: of two entries for an input the later generation counts.

    Failures are packed apart from the outputs, so that a list of them reads little.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_index=False)
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="+", db_index=False)
    generation = models.PositiveIntegerField(default=0)
    first_index = models.PositiveIntegerField()
    last_index = models.PositiveIntegerField()
    succeeded_count = models.PositiveIntegerField()
    failed_count = models.PositiveIntegerField()
    output_count = models.PositiveIntegerField()
    summary = models.BinaryField(help_text="Packed JSON: index, output count, retries and times of each input.")
    outputs = models.BinaryField(null=True, help_text="Packed lines: the outputs in input order.")
    failures = models.BinaryField(null=True, help_text="Packed lines: the errors in input order.")
    created_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["run", "first_index"],
                name="result_chunk_place",
                include=["batch", "output_count", "succeeded_count", "failed_count"],
            ),
            models.Index(fields=["batch"], name="result_chunk_by_batch"),
            models.Index(
                fields=["created_at"], name="result_chunk_recent", include=["run", "succeeded_count", "failed_count"]
            ),
        ]

    @property
    def stored_bytes(self) -> int:
        """How many bytes its packs take."""
        return len(self.summary) + len(self.outputs or b"") + len(self.failures or b"")


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


class ReadyRun(models.Model):
    """A run that has a batch to claim, with its turn: the lowest turn is served next.

    Turns are virtual times of start-time fair queueing: a workspace's runs get consecutive ones, so that a workspace
    with one run is served as often as one with two hundred. `runs.turns` keeps this table; a row too many or too
    few costs a claim or waits for the sweep, and loses nothing.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+", db_index=False)
    action = models.ForeignKey(Action, on_delete=models.CASCADE, related_name="+", db_index=False)
    turn = models.BigIntegerField(db_index=True)
    waiting_since = models.DateTimeField(db_default=Now(), help_text="The last time it was served, or got in line.")


class WorkspaceTurn(models.Model):
    """The last turn handed out to a workspace's runs, and the last one served: the latest of all is the time now."""

    workspace = models.OneToOneField(Workspace, on_delete=models.CASCADE, primary_key=True, related_name="+")
    last_turn = models.BigIntegerField(default=0)
    served_turn = models.BigIntegerField(default=0, db_index=True)


class ActionGate(models.Model):
    """What the installation's workers have begun of an action that has a rate, and when they may begin more.

    `begun` is a list of [epoch seconds, number of inputs], no older than the rate's period. The row is also the lock
    under which the batches of an action with `max_concurrency` are counted (`runs.gates`).
    """

    action = models.OneToOneField(Action, on_delete=models.CASCADE, primary_key=True, related_name="+")
    begun = models.JSONField(default=list)
    closed_until = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=50, blank=True, help_text="The rates it was closed under.")


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


class CallbackOn(models.TextChoices):
    """Of what a run calls back (contract section 3)."""

    ALL = "all"  # results as they are recorded, and the end
    FINAL = "final"  # the end


class CallbackPer(models.TextChoices):
    """What one callback with results holds (contract section 3)."""

    INPUT = "input"
    BATCH = "batch"


class RunCallback(models.Model):
    """What a launch asked for with `callback`. A run without has no row."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="callback")
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="+")
    on = models.CharField(max_length=5, choices=CallbackOn, default=CallbackOn.ALL)
    per = models.CharField(max_length=5, choices=CallbackPer, default=CallbackPer.INPUT)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(on__in=CallbackOn.values), name="run_callback_on_known"),
            models.CheckConstraint(condition=models.Q(per__in=CallbackPer.values), name="run_callback_per_known"),
        ]


class OutboxEntryQuerySet(models.QuerySet["OutboxEntry"]):
    def open(self) -> Self:
        """Entries that are to be made into callbacks."""
        return self.filter(is_held=False)

    def in_turn(self) -> Self:
        """Those of them whose turn it is, in order: the end of a run once none of its older entries is left."""
        older = self.model.objects.filter(run=models.OuterRef("run"), pk__lt=models.OuterRef("pk"))
        return self.open().filter(models.Q(status="") | ~models.Exists(older)).order_by("pk")


class OutboxEntry(models.Model):
    """What is still to be made into callbacks, written in the transaction in which it happened, and gone once they are.

    Either the results of a checkpoint, or the invalid inputs of a chunk, or the end of the run, with the status and
    the error it had then. One that is held waits until its run is resumed: a person cancelled it.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_index=False)
    # Deleted with it: a constraint would look for each chunk that goes through all entries.
    result_chunk = models.ForeignKey(
        ResultChunk, null=True, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    input_chunk = models.ForeignKey(
        InputChunk, null=True, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    status = models.CharField(max_length=20, choices=RunStatus, blank=True)
    error = OrderedJSONField(null=True)
    is_held = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    objects = OutboxEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "outbox entries"
        indexes: ClassVar = [
            models.Index(fields=["run", "id"], name="outbox_entry_by_run"),
            # By run first: those with something open are found one after the other, however much each has.
            models.Index(fields=["run", "id"], name="outbox_entry_open", condition=models.Q(is_held=False)),
        ]


def input_uid(run_uid: uuid.UUID, index: int) -> uuid.UUID:
    """Return the stable uid of a run's input: the run's own time, and bits that follow from the run and the index.

    A version 7 UUID (RFC 9562 section 5.7) without a column to store it in.
    """
    return _uid_of_part(run_uid, f"input {index}")


def batch_uid(run_uid: uuid.UUID, first_index: int) -> uuid.UUID:
    """Return the stable uid of a run's batch, by the index of its first input, in the same way."""
    return _uid_of_part(run_uid, f"batch {first_index}")


def _uid_of_part(run_uid: uuid.UUID, name: str) -> uuid.UUID:
    noise = uuid.uuid5(run_uid, name).int
    time_and_version = run_uid.int >> 76 << 76
    variant = 0b10 << 62
    return uuid.UUID(int=time_and_version | (noise >> 52 & 0xFFF) << 64 | variant | noise & 0x3FFF_FFFF_FFFF_FFFF)
