"""The index by which the overview counts recent results, built beside the writers of a large table."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("runs", "0008_kept_inputs")]
    operations = [
        AddIndexConcurrently(
            "resultchunk",
            models.Index(
                fields=["created_at"], name="result_chunk_recent", include=("run", "succeeded_count", "failed_count")
            ),
        ),
    ]
