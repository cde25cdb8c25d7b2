import os

import psycopg
import pytest
from django.db import connection


@pytest.mark.django_db
def test_django_uses_the_servers_of_this_run() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('fsync')")
        database, fsync = cursor.fetchone()
    assert database.startswith("test_runyard")
    assert fsync == "off"


def test_the_url_reaches_the_database() -> None:
    with psycopg.connect(os.environ["DATABASE_URL"]) as found:
        assert found.execute("SELECT 'É' ILIKE 'é'").fetchone() == (True,)
