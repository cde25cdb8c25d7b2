"""What runs wait for: other runs, and the limits of their action. New columns have constant defaults in the database
and no checks: the tables are neither rewritten nor read, and the previous version goes on writing its rows."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("actions", "0001_initial"), ("runs", "0004_careful")]
    operations = [
        migrations.CreateModel(
            "ActionGate",
            [
                (
                    "action",
                    models.OneToOneField(
                        on_delete=models.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="actions.action",
                    ),
                ),
                ("begun", models.JSONField(default=list)),
                ("closed_until", models.DateTimeField(null=True)),
                ("closed_by", models.CharField(blank=True, help_text="The rates it was closed under.", max_length=50)),
            ],
        ),
        migrations.CreateModel(
            "Dependency",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "run",
                    models.ForeignKey(
                        db_index=False, on_delete=models.CASCADE, related_name="unmet_dependencies", to="runs.run"
                    ),
                ),
                ("depends_on_uid", models.UUIDField(db_index=True)),
                ("is_due", models.BooleanField(default=True)),
                (
                    "is_met",
                    models.BooleanField(default=False, help_text="It has succeeded, and nobody has looked yet."),
                ),
            ],
            {
                "verbose_name_plural": "dependencies",
                "indexes": [
                    models.Index(fields=["run"], name="dependency_due", condition=models.Q(is_due=True)),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=["run", "depends_on_uid"], name="dependency_unique"),
                ],
            },
        ),
        migrations.AddField(
            "run",
            "depends_on",
            django.contrib.postgres.fields.ArrayField(models.UUIDField(), db_default=[], default=list, size=None),
        ),
        migrations.AddField("runprogress", "failures_in_row", models.IntegerField(db_default=0, default=0)),
        migrations.AddField("runprogress", "stored_bytes", models.BigIntegerField(db_default=0, default=0)),
        migrations.AddField(
            "readyrun",
            "waiting_since",
            models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                help_text="The last time it was served, or got in line.",
            ),
        ),
    ]
