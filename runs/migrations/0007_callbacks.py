"""What a launch asks for with `callback`, and what is still to be called back: tables of their own, so that the
previous version goes on as before."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import runs.models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0006_run_ended"),
        ("webhooks", "0001_callbacks"),
    ]

    operations = [
        migrations.CreateModel(
            name="OutboxEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("CREATED", "Created"),
                            ("INVALID", "Invalid"),
                            ("QUEUED", "Queued"),
                            ("SCHEDULED", "Scheduled"),
                            ("BLOCKED", "Blocked"),
                            ("STOPPED", "Stopped"),
                            ("RUNNING", "Running"),
                            ("FAILED", "Failed"),
                            ("PARTIAL_SUCCEEDED", "Partial Succeeded"),
                            ("SUCCEEDED", "Succeeded"),
                        ],
                        max_length=20,
                    ),
                ),
                ("error", runs.models.OrderedJSONField(null=True)),
                ("is_held", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "input_chunk",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="runs.inputchunk",
                    ),
                ),
                (
                    "result_chunk",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="runs.resultchunk",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="runs.run"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "outbox entries",
                "indexes": [
                    models.Index(fields=["run", "id"], name="outbox_entry_by_run"),
                    models.Index(
                        condition=models.Q(("is_held", False)), fields=["run", "id"], name="outbox_entry_open"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RunCallback",
            fields=[
                (
                    "run",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="callback",
                        serialize=False,
                        to="runs.run",
                    ),
                ),
                ("on", models.CharField(choices=[("all", "All"), ("final", "Final")], default="all", max_length=5)),
                (
                    "per",
                    models.CharField(choices=[("input", "Input"), ("batch", "Batch")], default="input", max_length=5),
                ),
                (
                    "destination",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="webhooks.destination"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("on__in", ["all", "final"])), name="run_callback_on_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("per__in", ["input", "batch"])), name="run_callback_per_known"
                    ),
                ],
            },
        ),
    ]
