"""Production settings: what does not start with them, and Django's own look at the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import production
from tests.config.test_settings import NEEDED, ROOT, read

KEY = "0123456789" * 5
PRODUCTION = {**NEEDED, "HTTPS": "true", "SECRET_KEY": KEY, "ALLOWED_HOSTS": "runyard.example.org"}


def test_check_deploy_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "DEBUG"],
        env=PRODUCTION, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("System check identified no issues")


def test_cookies_and_pages_go_over_tls_only() -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "SESSION_COOKIE_HTTPONLY")
    assert read(f"[{', '.join(f's.{name}' for name in names)}]", **PRODUCTION) == [True] * 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"secret_key": "short"}, "SECRET_KEY is too short or too simple"),
        ({"secret_key": "abcd" * 20}, "SECRET_KEY is too short or too simple"),
        ({"debug": True}, "DEBUG is on with HTTPS=true"),
        ({"hosts": []}, "ALLOWED_HOSTS is not set"),
        ({"hosts": ["localhost", "127.0.0.1", "[::1]"]}, "ALLOWED_HOSTS is not set, or names this machine only"),
        ({"hosts": ["runyard.example.org", "*"]}, "ALLOWED_HOSTS is *"),
    ],
)
def test_what_does_not_start(changed: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"secret_key": KEY, "debug": False, "hosts": ["runyard.example.org"]}
    production.check(**given)  # type: ignore[arg-type]
    with pytest.raises(ImproperlyConfigured) as refused:
        production.check(**{**given, **changed})  # type: ignore[arg-type]
    assert message in str(refused.value)
    assert "abcd" not in str(refused.value)


def test_a_command_says_why_it_does_not_start() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env={**PRODUCTION, "ALLOWED_HOSTS": ""}, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("ALLOWED_HOSTS is not set")
    assert "Traceback" not in done.stderr
