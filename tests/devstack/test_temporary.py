import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from devstack.home import PROJECT
from devstack.processes import alive, wait_until


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


OWNER = """
import sys, time
from devstack.temporary import TemporaryServers
servers = TemporaryServers()
print(servers.folder, *servers.pids, flush=True)
time.sleep(60)
"""


def test_the_servers_end_with_a_killed_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder, *pids = owner.stdout.readline().split()
        assert all(alive(int(pid)) for pid in pids)
        owner.kill()
    assert wait_until(lambda: not any(alive(int(pid)) for pid in pids), seconds=20)
    assert wait_until(lambda: not Path(folder).exists(), seconds=20)
