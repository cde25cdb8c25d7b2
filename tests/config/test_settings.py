"""Settings read from the environment: defaults, limits, and a start that is refused in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from config.environment import at_least_or_off, flag, rate

ROOT = Path(__file__).resolve().parent.parent.parent
NEEDED = {"SECRET_KEY": "s", "DATABASE_URL": "postgresql:///x", "REDIS_URL": "redis://x"}
SHOW = "import json; from config import settings as s; print(json.dumps({names}, default=str))"


def read(names: str, **environment: str) -> Any:
    """Return settings as a fresh process reads them: `names` is a Python expression over `s`."""
    run = start(SHOW.format(names=names), **{**NEEDED, **environment})
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def start(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Execute `code` in a fresh process with that environment."""
    starter = _starter()
    assert starter.stdin is not None
    assert starter.stdout is not None
    print(json.dumps([code, {"PATH": os.environ["PATH"], **environment}]), file=starter.stdin, flush=True)
    return subprocess.CompletedProcess(code, *json.loads(starter.stdout.readline()))


# It has the libraries that the settings import, and none of our code: a process for each case that imports them all
# anew takes a second.
STARTER = """
import json, os, sys, tempfile, traceback
import django.http, environ, psycopg, structlog

for line in sys.stdin:
    code, environment = json.loads(line)
    out, err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(environment)
        sys.stdout, sys.stderr = out, err
        status = 0
        try:
            exec(code, {})
        except BaseException:
            traceback.print_exc()
            status = 1
        out.flush()
        err.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    told = [file.seek(0) or file.read() for file in (out, err)]
    print(json.dumps([status, *told]), flush=True)
"""


@cache
def _starter() -> subprocess.Popen[str]:
    """Return a process that forks one for each line it reads. It ends with this one, which ends its input."""
    return subprocess.Popen(
        [sys.executable, "-c", STARTER], env={"PATH": os.environ["PATH"]}, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def test_defaults_are_the_contracts() -> None:
    assert settings.RUNYARD_LEASE_SECONDS == 15
    assert settings.RUNYARD_MAX_BODY_BYTES == 64 * 1024 * 1024
    assert settings.RUNYARD_MAX_BODY_NODES == 2_000_000
    assert settings.RUNYARD_MAX_INPUTS == 100_000
    assert settings.RUNYARD_MAX_INPUT_BYTES == 256 * 1024
    assert settings.RUNYARD_MAX_CUSTOM_DATA_BYTES == 4 * 1024
    assert settings.RUNYARD_MAX_PARAMETERS_BYTES == 256 * 1024
    assert settings.RUNYARD_MAX_OUTPUT_BYTES == 1024 * 1024
    assert settings.RUNYARD_MAX_OUTPUTS_PER_INPUT == 10_000
    assert settings.RUNYARD_MAX_OUTPUT_BYTES_PER_INPUT == 16 * 1024 * 1024
    assert settings.RUNYARD_MAX_UNFINISHED_RUNS == 10_000
    assert settings.RUNYARD_RATE_LIMIT == "600/m"
    assert settings.RUNYARD_RETENTION_DAYS == 30
    assert settings.RUNYARD_MAX_STORED_BYTES is None


def test_production_is_the_default() -> None:
    found = read("[s.DEBUG, s.ALLOWED_HOSTS, s.RUNYARD_ACTIONS, s.LOGGING['root']['level']]")
    assert found == [False, ["localhost", "127.0.0.1", "[::1]"], [], "INFO"]


def test_what_the_environment_says() -> None:
    found = read(
        "[s.DEBUG, s.ALLOWED_HOSTS, s.RUNYARD_ACTIONS, s.RUNYARD_MAX_INPUTS,"
        " s.CELERY_BROKER_URL, s.DATABASES['default']['NAME'], s.DATABASES['default']['CONN_MAX_AGE'],"
        " s.LOGGING['root']['level']]",
        DEBUG="true",
        ALLOWED_HOSTS="a.test,b.test",
        RUNYARD_ACTIONS="one,two.three",
        RUNYARD_MAX_INPUTS="7",
        LOG_LEVEL="warning",
    )
    assert found == [True, ["a.test", "b.test"], ["one", "two.three"], 7, "redis://x", "x", 60, "WARNING"]


@pytest.mark.parametrize(
    ("environment", "callbacks", "actions"),
    [
        ({}, False, False),
        ({"RUNYARD_CALLBACK_ALLOW_PRIVATE": "true"}, True, True),
        ({"RUNYARD_ACTIONS_ALLOW_PRIVATE": "true"}, False, True),
        ({"RUNYARD_CALLBACK_ALLOW_PRIVATE": "true", "RUNYARD_ACTIONS_ALLOW_PRIVATE": "false"}, True, False),
    ],
    ids=["neither", "one opens both", "only actions", "only callbacks"],
)
def test_private_addresses(environment: dict[str, str], callbacks: bool, actions: bool) -> None:
    found = read("[s.RUNYARD_CALLBACK_ALLOW_PRIVATE, s.RUNYARD_ACTIONS_ALLOW_PRIVATE]", **environment)
    assert found == [callbacks, actions]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"REDIS_URL": ""}, "REDIS_URL is not set"),
        ({"DATABASE_URL": "sqlite:///x"}, "DATABASE_URL must name a PostgreSQL server"),
        ({"RUNYARD_MAX_INPUTS": "many"}, "RUNYARD_MAX_INPUTS must be a whole number, not 'many'"),
        ({"RUNYARD_MAX_INPUTS": "0"}, "RUNYARD_MAX_INPUTS must be at least 1, not 0"),
        ({"RUNYARD_LEASE_SECONDS": "1"}, "RUNYARD_LEASE_SECONDS must be at least 2, not 1"),
        ({"RUNYARD_LEASE_SECONDS": "1.5"}, "RUNYARD_LEASE_SECONDS must be a whole number"),
        ({"DATABASE_URL": "postgresql://u:p@h:port/x"}, "DATABASE_URL must be like postgresql://"),
        ({"DEBUG": "ja"}, "DEBUG must be true or false, not 'ja'"),
        ({"HTTPS": "tru"}, "HTTPS must be true or false, not 'tru'"),
        ({"LOG_FORMAT": "jsno"}, "LOG_FORMAT must be one of console, json, not 'jsno'"),
        ({"RUNYARD_RATE_LIMIT": "many"}, "RUNYARD_RATE_LIMIT must be a count for s, m, h or d, such as 600/m, or off"),
        ({"RUNYARD_RATE_LIMIT": "0/m"}, "RUNYARD_RATE_LIMIT must be a count for s, m, h or d"),
        ({"RUNYARD_RATE_LIMIT": "600/min"}, "RUNYARD_RATE_LIMIT must be a count for s, m, h or d"),
        ({"RUNYARD_RATE_LIMIT": "600"}, "RUNYARD_RATE_LIMIT must be a count for s, m, h or d"),
        ({"RUNYARD_RETENTION_DAYS": "0"}, "RUNYARD_RETENTION_DAYS must be a whole number from 1 on, or off, not '0'"),
        ({"RUNYARD_RETENTION_DAYS": "1.5"}, "RUNYARD_RETENTION_DAYS must be a whole number from 1 on, or off"),
        ({"RUNYARD_MAX_STORED_BYTES": "-1"}, "RUNYARD_MAX_STORED_BYTES must be a whole number from 1 on, or off"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, not 'LOUD'"),
    ],
)
def test_a_value_that_cannot_be_stops_the_start(environment: dict[str, str], message: str) -> None:
    run = start("import config.settings", **{**NEEDED, **environment})
    assert run.returncode != 0
    assert message in run.stderr


@pytest.mark.parametrize(
    ("text", "is_on"),
    [("true", True), ("1", True), ("Yes", True), ("on", True), ("false", False), ("0", False), ("no", False),
     ("OFF", False), ("", False)],
)  # fmt: skip
def test_on_and_off(monkeypatch: pytest.MonkeyPatch, text: str, is_on: bool) -> None:
    monkeypatch.setenv("DEBUG", text)
    assert flag("DEBUG", default=False) is is_on


@pytest.mark.parametrize(
    ("text", "limit"),
    [("", "600/m"), ("1/s", "1/s"), ("90000/d", "90000/d"), ("5/h", "5/h"), ("off", None), ("OFF", None)],
)
def test_a_rate(monkeypatch: pytest.MonkeyPatch, text: str, limit: str | None) -> None:
    monkeypatch.setenv("RUNYARD_RATE_LIMIT", text)
    assert rate("RUNYARD_RATE_LIMIT", "600/m") == limit


@pytest.mark.parametrize(("text", "number"), [("", 30), ("1", 1), ("7", 7), ("off", None), ("Off", None)])
def test_a_number_or_off(monkeypatch: pytest.MonkeyPatch, text: str, number: int | None) -> None:
    monkeypatch.setenv("RUNYARD_RETENTION_DAYS", text)
    assert at_least_or_off("RUNYARD_RETENTION_DAYS", 30) == number
    monkeypatch.delenv("RUNYARD_RETENTION_DAYS")
    assert at_least_or_off("RUNYARD_RETENTION_DAYS", "off") is None


def test_an_empty_value_is_an_absent_one() -> None:
    empty = {"DEBUG": "", "LOG_LEVEL": "", "LOG_FORMAT": "", "HTTPS": "", "RUNYARD_MAX_INPUTS": ""}
    assert read("[s.DEBUG, s.LOGGING['root']['level'], s.RUNYARD_MAX_INPUTS]", **empty) == [False, "INFO", 100_000]


def test_the_session_is_the_admins_alone() -> None:
    rest = settings.REST_FRAMEWORK
    assert rest["DEFAULT_AUTHENTICATION_CLASSES"] == ["workspaces.authentication.ApiKeyAuthentication"]
    assert rest["DEFAULT_PERMISSION_CLASSES"] == ["workspaces.permissions.RoleAndScope"]
    assert settings.AUTH_USER_MODEL == "workspaces.User"


@pytest.mark.parametrize("task", ["runs.sweep", "runs.prune"])
def test_beat_ticks_and_lets_old_ticks_lapse(task: str) -> None:
    (entry,) = [one for one in settings.CELERY_BEAT_SCHEDULE.values() if one["task"] == task]
    assert entry["options"]["queue"] == "system"
    assert entry["options"]["expire_seconds"] <= 10
