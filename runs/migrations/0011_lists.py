"""Indexes for each filter and sort of the list of runs, built beside the writers, before those they replace go."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

CREATION = ("created_at", "id")
FIELDS = {
    "run_status_created": ("workspace", "status", *CREATION),
    "run_action_created": ("workspace", "action_name", *CREATION),
    "run_mode_created": ("workspace", "execution_mode", *CREATION),
    "run_user_created": ("workspace", "user", *CREATION),
    "run_updated": ("workspace", "updated_at", *CREATION),
    "run_started": ("workspace", "started_at", *CREATION),
    "run_finished": ("workspace", "finished_at", *CREATION),
    "run_filtered": ("workspace", "status", "action_name", "execution_mode", "user", *CREATION),
}


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("runs", "0010_traceparent")]
    operations = [
        *(AddIndexConcurrently("run", models.Index(fields=fields, name=name)) for name, fields in FIELDS.items()),
        AddIndexConcurrently(
            "run",
            models.Index(
                fields=["schedule_uid", *CREATION],
                name="run_schedule_created",
                include=("workspace",),
                condition=models.Q(schedule_uid__isnull=False),
            ),
        ),
        *(RemoveIndexConcurrently("run", name) for name in ("run_by_status", "run_by_action", "run_by_schedule")),
    ]
