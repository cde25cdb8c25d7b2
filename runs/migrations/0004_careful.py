"""What a batch that crashed keeps of the input in hand. Columns with constant defaults and no checks: the table is
neither rewritten nor read, and the previous version, which does not name them, goes on writing its rows."""

from django.db import migrations, models

import runs.models


class Migration(migrations.Migration):
    dependencies = [("runs", "0003_live")]
    operations = [
        migrations.AddField("batch", "careful", models.BooleanField(default=False, db_default=False)),
        migrations.AddField("batch", "suspect", models.IntegerField(null=True)),
        migrations.AddField("batch", "suspect_since", models.DateTimeField(null=True)),
        migrations.AddField(
            "batch",
            "suspect_died_at",
            models.DateTimeField(null=True, help_text="When its process was found dead, if it was."),
        ),
        migrations.AddField("batch", "suspect_deaths", models.SmallIntegerField(default=0, db_default=0)),
        migrations.AlterField(
            "batch",
            "retries",
            runs.models.OrderedJSONField(
                null=True,
                help_text=(
                    'Of inputs that asked to be tried again: {offset: {"attempts": n, "due_at": seconds, "deaths": n}}.'
                ),
            ),
        ),
    ]
