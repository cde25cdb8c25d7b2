import django.contrib.postgres.fields
import django.db.models.deletion
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

import runs.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("actions", "0001_initial"),
        ("runs", "0008_kept_inputs"),
        ("webhooks", "0001_callbacks"),
        ("workspaces", "0002_idempotency_keys"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Schedule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uid", models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, unique=True)),
                ("action_name", models.CharField(max_length=100)),
                ("name", models.CharField(blank=True, max_length=255)),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64), default=list, size=None
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("ACTIVE", "Active"),
                            ("PAUSED", "Paused"),
                            ("CANCELLED", "Cancelled"),
                            ("COMPLETED", "Completed"),
                        ],
                        default="ACTIVE",
                        max_length=10,
                    ),
                ),
                ("cron", models.CharField(blank=True, max_length=255)),
                ("timezone", models.CharField(default="UTC", max_length=64)),
                ("schedule_at", models.DateTimeField(null=True)),
                ("starts_at", models.DateTimeField(null=True)),
                ("ends_at", models.DateTimeField(null=True)),
                (
                    "overlap",
                    models.CharField(choices=[("allow", "Allow"), ("skip", "Skip")], default="allow", max_length=5),
                ),
                (
                    "catch_up",
                    models.CharField(
                        choices=[("one", "One"), ("none", "None"), ("all", "All")], default="one", max_length=4
                    ),
                ),
                ("next_execution_at", models.DateTimeField(null=True)),
                ("last_execution_at", models.DateTimeField(null=True)),
                ("last_run_uid", models.UUIDField(null=True)),
                ("missed_count", models.PositiveIntegerField(default=0, help_text="Due times that launched nothing.")),
                ("last_error", runs.models.OrderedJSONField(null=True)),
                ("parameters", runs.models.OrderedJSONField(default=dict)),
                (
                    "identity_ids",
                    runs.models.OrderedJSONField(help_text="Handed to the action; means nothing here.", null=True),
                ),
                ("identity_mode", models.CharField(blank=True, max_length=8)),
                ("batch_size", models.PositiveIntegerField()),
                (
                    "callback_on",
                    models.CharField(blank=True, choices=[("all", "All"), ("final", "Final")], max_length=5),
                ),
                (
                    "callback_per",
                    models.CharField(blank=True, choices=[("input", "Input"), ("batch", "Batch")], max_length=5),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "updated_at",
                    models.DateTimeField(help_text="The last change of status or settings; firing is none."),
                ),
                (
                    "action",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="actions.action"
                    ),
                ),
                (
                    "destination",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="webhooks.destination",
                    ),
                ),
                (
                    "input_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="runs.inputset"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "workspace",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="workspaces.workspace",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Fire",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("FIRED", "Fired"),
                            ("TRIGGERED", "Triggered"),
                            ("SKIPPED", "Skipped"),
                            ("MISSED", "Missed"),
                        ],
                        max_length=9,
                    ),
                ),
                ("due_at", models.DateTimeField(null=True)),
                ("at", models.DateTimeField(help_text="When it was claimed; minus `due_at` it is how late.")),
                ("count", models.PositiveIntegerField(default=1, help_text="Of due times, `due_at` the last of them.")),
                ("run_uid", models.UUIDField(null=True)),
                ("reason", models.CharField(blank=True, max_length=500)),
                (
                    "schedule",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="fires",
                        to="schedules.schedule",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="FireTotal",
            fields=[
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("FIRED", "Fired"),
                            ("TRIGGERED", "Triggered"),
                            ("SKIPPED", "Skipped"),
                            ("MISSED", "Missed"),
                        ],
                        max_length=9,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("count", models.PositiveBigIntegerField(default=0)),
                ("late_s", models.FloatField(default=0)),
                (
                    "late_counts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(),
                        default=list,
                        help_text="By the bounds of `schedules.totals`.",
                        size=None,
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(
                condition=models.Q(("next_execution_at__isnull", False), ("status", "ACTIVE")),
                fields=["next_execution_at"],
                name="schedule_due",
            ),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(fields=["workspace", "-created_at", "-id"], name="schedule_newest"),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["ACTIVE", "PAUSED", "CANCELLED", "COMPLETED"])),
                name="schedule_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("overlap__in", ["allow", "skip"])), name="schedule_overlap_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("catch_up__in", ["one", "none", "all"])), name="schedule_catch_up_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("cron", ""), _negated=True), ("schedule_at__isnull", False), _connector="OR"
                ),
                name="schedule_has_a_time",
            ),
        ),
        migrations.AddIndex(
            model_name="fire",
            index=models.Index(fields=["at"], name="fire_at"),
        ),
        migrations.AddConstraint(
            model_name="fire",
            constraint=models.UniqueConstraint(fields=("schedule", "due_at"), name="fire_unique"),
        ),
    ]
