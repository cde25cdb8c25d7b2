"""gunicorn's settings: read from the environment, and refused in words."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from gunicorn import util

SETTINGS = Path(__file__).resolve().parents[2] / "config" / "gunicorn.py"


@pytest.fixture(autouse=True)
def gunicorns_own_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "write_error", util.write_error)  # which the settings replace


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(SETTINGS))


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, RUNYARD_BIND="", RUNYARD_WEB_THREADS="")
    assert (found["bind"], found["workers"], found["threads"]) == ("127.0.0.1:8000", 2, 100)
    assert found["STALLED_UPLOAD_S"] == 20


@pytest.mark.parametrize(
    ("address", "bind"), [("0.0.0.0", "0.0.0.0:9"), ("::", "[::]:9"), ("[::1]", "[::1]:9"), ("a.test", "a.test:9")]
)
def test_where_it_listens(monkeypatch: pytest.MonkeyPatch, address: str, bind: str) -> None:
    assert read(monkeypatch, RUNYARD_BIND=address, PORT="9")["bind"] == bind


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RUNYARD_WEB_PROCESSES", "two", "RUNYARD_WEB_PROCESSES must be a whole number, not 'two'"),
        ("RUNYARD_WEB_PROCESSES", "0", "RUNYARD_WEB_PROCESSES must be at least 1, not 0"),
        ("RUNYARD_WEB_THREADS", "-1", "RUNYARD_WEB_THREADS must be at least 1, not -1"),
        ("RUNYARD_WEB_STALL_SECONDS", "20s", "RUNYARD_WEB_STALL_SECONDS must be a whole number, not '20s'"),
        ("PORT", "http", "PORT must be a whole number, not 'http'"),
        ("PORT", "65536", "PORT must be at most 65535, not 65536"),
    ],
)
def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        read(monkeypatch, **{name: value})
