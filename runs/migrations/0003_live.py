from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # an index that is built without stopping the writers takes no transaction
    dependencies = [("runs", "0002_storage")]
    operations = [
        AddIndexConcurrently(
            model_name="run",
            index=models.Index(
                condition=models.Q(("execution_mode", "LIVE"), ("status", "QUEUED")),
                fields=["created_at", "id"],
                name="run_waiting_live",
            ),
        ),
    ]
