"""How PostgreSQL keeps the rows that are written most, which Django's models cannot say."""

from django.db import migrations

PACKED = {
    "runs_inputchunk": ["inputs", "custom_data", "invalid"],
    "runs_resultchunk": ["summary", "outputs", "failures"],
}
# Rows that are updated in place again and again: room on the page keeps their updates off the indexes.
UPDATED = {"runs_runprogress": 40, "runs_batch": 70, "runs_readyrun": 50, "runs_workspaceturn": 50}


def _store_packed_as_is() -> list[migrations.RunSQL]:
    """These bytes are compressed already; EXTERNAL keeps PostgreSQL from trying again."""
    return [
        migrations.RunSQL(
            f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL",
            f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTENDED",
        )
        for table, columns in PACKED.items()
        for column in columns
    ]


def _leave_room() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
            f"ALTER TABLE {table} SET (fillfactor = {percent})", f"ALTER TABLE {table} RESET (fillfactor)"
        )
        for table, percent in UPDATED.items()
    ]


class Migration(migrations.Migration):
    dependencies = [("runs", "0001_initial")]
    operations = [*_store_packed_as_is(), *_leave_room()]
