"""The index by which retention finds what is old, built beside the writers of a large table."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("runs", "0005_waiting")]
    operations = [
        AddIndexConcurrently(
            "run",
            models.Index(
                fields=["finished_at"],
                name="run_ended",
                condition=models.Q(status__in=["FAILED", "INVALID", "PARTIAL_SUCCEEDED", "SUCCEEDED"]),
            ),
        ),
    ]
