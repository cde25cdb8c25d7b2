import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("workspaces", "0002_idempotency_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="BodyPack",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("run_uid", models.UUIDField(db_index=True)),
                ("bodies", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="SigningSecret",
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
                ("secret", models.CharField(max_length=100)),
                ("previous_secret", models.CharField(blank=True, max_length=100)),
                ("previous_expires_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Receiver",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("origin", models.CharField(max_length=300)),
                ("status", models.CharField(choices=[("OK", "Ok"), ("PAUSED", "Paused")], default="OK", max_length=8)),
                ("paused_until", models.DateTimeField(null=True)),
                ("failures_in_row", models.PositiveIntegerField(default=0)),
                ("success_rate", models.FloatField(null=True)),
                ("last_error", models.CharField(blank=True, max_length=500)),
                ("wakes_at", models.DateTimeField(null=True)),
                ("served_at", models.DateTimeField(null=True)),
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
            name="Destination",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("url", models.TextField()),
                ("headers", models.JSONField(default=list, help_text="Pairs of name and value, in order.")),
                ("created_at", models.DateTimeField()),
                (
                    "receiver",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="webhooks.receiver"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Callback",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uid", models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, unique=True)),
                ("ref_uid", models.UUIDField()),
                ("parent_uid", models.UUIDField(null=True)),
                ("body_position", models.PositiveSmallIntegerField(help_text="The line of the pack, from 0.")),
                ("run_uid", models.UUIDField()),
                ("batch_uid", models.UUIDField(null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("PENDING", "Pending"),
                            ("RUNNING", "Running"),
                            ("SUCCESS", "Success"),
                            ("FAILED", "Failed"),
                        ],
                        default="PENDING",
                        max_length=8,
                    ),
                ),
                ("claim", models.PositiveIntegerField(default=0)),
                ("leased_until", models.DateTimeField(null=True)),
                ("worker", models.CharField(blank=True, max_length=255)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("attempts", models.JSONField(default=list)),
                ("created_at", models.DateTimeField()),
                (
                    "body_pack",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="webhooks.bodypack",
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
                (
                    "destination",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="webhooks.destination",
                    ),
                ),
                (
                    "receiver",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="webhooks.receiver",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="receiver",
            index=models.Index(
                condition=models.Q(("wakes_at__isnull", False)), fields=["wakes_at"], name="receiver_wakes"
            ),
        ),
        migrations.AddConstraint(
            model_name="receiver",
            constraint=models.UniqueConstraint(fields=("workspace", "origin"), name="receiver_unique"),
        ),
        migrations.AddConstraint(
            model_name="receiver",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["OK", "PAUSED"])), name="receiver_status_known"
            ),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(fields=["workspace", "-created_at", "-id"], name="callback_newest"),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(
                condition=models.Q(("status", "FAILED")),
                fields=["workspace", "-created_at", "-id"],
                name="callback_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(
                condition=models.Q(("status__in", ["PENDING", "RUNNING"])),
                fields=["workspace", "-created_at", "-id"],
                name="callback_undelivered",
            ),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(fields=["run_uid", "-created_at", "-id"], name="callback_by_run"),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(
                condition=models.Q(("status", "PENDING")),
                fields=["receiver", "next_attempt_at", "id"],
                name="callback_due",
            ),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(
                condition=models.Q(("status", "RUNNING")), fields=["leased_until"], name="callback_leased"
            ),
        ),
        migrations.AddConstraint(
            model_name="callback",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["PENDING", "RUNNING", "SUCCESS", "FAILED"])),
                name="callback_status_known",
            ),
        ),
    ]
