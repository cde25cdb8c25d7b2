import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.expressions
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

import runs.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("actions", "0001_initial"),
        ("workspaces", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Batch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("first_index", models.PositiveIntegerField()),
                ("input_count", models.PositiveIntegerField()),
                (
                    "status",
                    models.CharField(
                        choices=[("READY", "Ready"), ("LEASED", "Leased"), ("WAITING", "Waiting"), ("DONE", "Done")],
                        default="READY",
                        max_length=8,
                    ),
                ),
                ("attempt", models.PositiveIntegerField(default=0)),
                ("checkpoint", models.PositiveIntegerField(default=0)),
                ("leased_until", models.DateTimeField(null=True)),
                ("worker", models.CharField(blank=True, max_length=255)),
                ("ready_at", models.DateTimeField(null=True)),
                ("crash_count", models.PositiveSmallIntegerField(default=0)),
                ("done", models.BinaryField()),
                (
                    "retries",
                    runs.models.OrderedJSONField(
                        help_text='Of inputs that asked to be tried again: {offset: {"attempts": n, "due_at": seconds}}.',
                        null=True,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="InputChunk",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("first_index", models.PositiveIntegerField()),
                ("input_count", models.PositiveIntegerField()),
                ("invalid_count", models.PositiveIntegerField(default=0)),
                ("inputs", models.BinaryField(help_text="Packed lines: each input without its custom_data.")),
                (
                    "custom_data",
                    models.BinaryField(help_text="Packed lines, or null where no input carries any.", null=True),
                ),
                (
                    "invalid",
                    models.BinaryField(
                        help_text="Packed JSON: the error of each invalid input by its offset.", null=True
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="InputSet",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("input_count", models.PositiveIntegerField()),
                ("invalid_count", models.PositiveIntegerField(default=0)),
                ("stored_bytes", models.BigIntegerField(default=0)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uid", models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, unique=True)),
                ("action_name", models.CharField(max_length=100)),
                ("execution_mode", models.CharField(choices=[("LIVE", "Live"), ("ASYNC", "Async")], max_length=8)),
                (
                    "status",
                    models.CharField(
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
                        default="CREATED",
                        max_length=20,
                    ),
                ),
                ("last_error", runs.models.OrderedJSONField(null=True)),
                ("name", models.CharField(blank=True, max_length=255)),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64), default=list, size=None
                    ),
                ),
                ("parameters", runs.models.OrderedJSONField(default=dict)),
                (
                    "identity_ids",
                    runs.models.OrderedJSONField(help_text="Handed to the action; means nothing here.", null=True),
                ),
                ("identity_mode", models.CharField(blank=True, max_length=8)),
                ("batch_size", models.PositiveIntegerField()),
                ("schedule_uid", models.UUIDField(null=True)),
                ("schedule_name", models.CharField(blank=True, max_length=255)),
                ("postponed_until", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
                (
                    "updated_at",
                    models.DateTimeField(help_text="The last change of status or settings; counts move without it."),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ResultChunk",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("generation", models.PositiveIntegerField(default=0)),
                ("first_index", models.PositiveIntegerField()),
                ("last_index", models.PositiveIntegerField()),
                ("succeeded_count", models.PositiveIntegerField()),
                ("failed_count", models.PositiveIntegerField()),
                ("output_count", models.PositiveIntegerField()),
                (
                    "summary",
                    models.BinaryField(help_text="Packed JSON: index, output count, retries and times of each input."),
                ),
                ("outputs", models.BinaryField(help_text="Packed lines: the outputs in input order.", null=True)),
                ("failures", models.BinaryField(help_text="Packed lines: the errors in input order.", null=True)),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="RunTransition",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                (
                    "from_status",
                    models.CharField(
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
                        null=True,
                    ),
                ),
                (
                    "to_status",
                    models.CharField(
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
                (
                    "actor",
                    models.CharField(
                        choices=[("member", "Member"), ("schedule", "Schedule"), ("system", "System")], max_length=8
                    ),
                ),
                ("actor_uid", models.UUIDField(help_text="The member's user uid, or the schedule's uid.", null=True)),
                ("reason", models.CharField(blank=True, max_length=500)),
            ],
        ),
        migrations.CreateModel(
            name="WorkspaceTurn",
            fields=[
                (
                    "workspace",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="workspaces.workspace",
                    ),
                ),
                ("last_turn", models.BigIntegerField(default=0)),
                ("served_turn", models.BigIntegerField(db_index=True, default=0)),
            ],
        ),
        migrations.AddField(
            model_name="batch",
            name="chunk",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="runs.inputchunk"
            ),
        ),
        migrations.AddField(
            model_name="inputset",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="workspaces.workspace"
            ),
        ),
        migrations.AddField(
            model_name="inputchunk",
            name="input_set",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="chunks", to="runs.inputset"
            ),
        ),
        migrations.CreateModel(
            name="ReadyRun",
            fields=[
                (
                    "run",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="runs.run",
                    ),
                ),
                ("turn", models.BigIntegerField(db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name="RunProgress",
            fields=[
                (
                    "run",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="progress",
                        serialize=False,
                        to="runs.run",
                    ),
                ),
                ("epoch", models.PositiveIntegerField(default=0)),
                ("generation", models.PositiveIntegerField(default=0)),
                ("input_count", models.PositiveIntegerField()),
                ("invalid_count", models.PositiveIntegerField(default=0)),
                ("succeeded_count", models.PositiveIntegerField(default=0)),
                ("failed_count", models.PositiveIntegerField(default=0)),
                ("remaining", models.PositiveIntegerField()),
                ("output_count", models.PositiveBigIntegerField(default=0)),
                ("retry_count", models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.AddField(
            model_name="run",
            name="action",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="actions.action"),
        ),
        migrations.AddField(
            model_name="run",
            name="input_set",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="runs", to="runs.inputset"
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="workspace",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="workspaces.workspace"
            ),
        ),
        migrations.AddField(
            model_name="batch",
            name="run",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="batches", to="runs.run"
            ),
        ),
        migrations.AddField(
            model_name="resultchunk",
            name="batch",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="runs.batch"
            ),
        ),
        migrations.AddField(
            model_name="resultchunk",
            name="run",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="runs.run"
            ),
        ),
        migrations.AddField(
            model_name="runtransition",
            name="run",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="transitions", to="runs.run"
            ),
        ),
        migrations.AddConstraint(
            model_name="inputchunk",
            constraint=models.UniqueConstraint(fields=("input_set", "first_index"), name="input_chunk_place_unique"),
        ),
        migrations.AddField(
            model_name="readyrun",
            name="action",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="actions.action"
            ),
        ),
        migrations.AddField(
            model_name="readyrun",
            name="workspace",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="workspaces.workspace"
            ),
        ),
        migrations.AddConstraint(
            model_name="runprogress",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "input_count",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    models.F("remaining"), "+", models.F("invalid_count")
                                ),
                                "+",
                                models.F("succeeded_count"),
                            ),
                            "+",
                            models.F("failed_count"),
                        ),
                    )
                ),
                name="run_progress_adds_up",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["workspace", "-created_at", "-id"], name="run_newest"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["workspace", "status", "-created_at", "-id"], name="run_by_status"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["workspace", "action_name", "-created_at", "-id"], name="run_by_action"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("schedule_uid__isnull", False)),
                fields=["schedule_uid", "-created_at"],
                name="run_by_schedule",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("status", "SCHEDULED")), fields=["postponed_until"], name="run_postponed"
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(
                    ("status__in", ["FAILED", "INVALID", "PARTIAL_SUCCEEDED", "SUCCEEDED"]), _negated=True
                ),
                fields=["workspace"],
                name="run_unfinished",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=django.contrib.postgres.indexes.GinIndex(fields=["tags"], name="run_by_tag"),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        [
                            "CREATED",
                            "INVALID",
                            "QUEUED",
                            "SCHEDULED",
                            "BLOCKED",
                            "STOPPED",
                            "RUNNING",
                            "FAILED",
                            "PARTIAL_SUCCEEDED",
                            "SUCCEEDED",
                        ],
                    )
                ),
                name="run_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("execution_mode__in", ["LIVE", "ASYNC"])), name="run_execution_mode_known"
            ),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(
                condition=models.Q(("status", "READY")), fields=["run", "first_index"], name="batch_ready"
            ),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(condition=models.Q(("status", "LEASED")), fields=["leased_until"], name="batch_leased"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(condition=models.Q(("status", "WAITING")), fields=["ready_at"], name="batch_waiting"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(
                condition=models.Q(("status", "WAITING")), fields=["run", "ready_at"], name="batch_waiting_of_run"
            ),
        ),
        migrations.AddConstraint(
            model_name="batch",
            constraint=models.UniqueConstraint(fields=("run", "first_index"), name="batch_place_unique"),
        ),
        migrations.AddConstraint(
            model_name="batch",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["READY", "LEASED", "WAITING", "DONE"])), name="batch_status_known"
            ),
        ),
        migrations.AddIndex(
            model_name="resultchunk",
            index=models.Index(
                fields=["run", "first_index"],
                include=("batch", "output_count", "succeeded_count", "failed_count"),
                name="result_chunk_place",
            ),
        ),
        migrations.AddIndex(
            model_name="resultchunk",
            index=models.Index(fields=["batch"], name="result_chunk_by_batch"),
        ),
    ]
