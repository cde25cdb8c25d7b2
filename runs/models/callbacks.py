"""What runs call back, and what is still to be made into callbacks."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models
from django.db.models.functions import Now

from runs.models.batches import ResultChunk
from runs.models.fields import OrderedJSONField
from runs.models.inputs import InputChunk
from runs.models.run import Run, RunStatus
from webhooks.models import Destination


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
