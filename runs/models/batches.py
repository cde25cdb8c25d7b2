"""What executing leaves: batches, which workers take in hand, and the results they bring back."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models
from django.db.models.functions import Now

from runs.models.fields import OrderedJSONField
from runs.models.inputs import InputChunk
from runs.models.run import ExecutionMode, Run


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
