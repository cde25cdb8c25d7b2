from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0007_callbacks"),
    ]

    operations = [
        migrations.AddField(
            model_name="inputset",
            name="is_kept",
            field=models.BooleanField(
                db_default=False, default=False, help_text="A schedule has it, with or without runs."
            ),
        ),
    ]
