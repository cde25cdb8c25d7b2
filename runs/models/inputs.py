"""What a run is launched on. It is stored apart from the run, since every run of a schedule has the same."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from workspaces.models import Workspace


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
