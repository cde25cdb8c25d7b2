from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0009_recent_results")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="traceparent",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of the request that launched it (W3C Trace Context), or of our own trace of it.",
                max_length=55,
            ),
        ),
    ]
