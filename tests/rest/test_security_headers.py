"""What answers tell browsers and caches, whoever made them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.factories import Api, Member
from tests.staff import superuser
from workspaces.models import User

pytestmark = pytest.mark.django_db

ALL = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
API = ALL | {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@pytest.fixture
def acme() -> Member:
    from tests.factories import member

    return member()


def told(answer: Any, names: dict[str, str]) -> dict[str, str]:
    return {name: answer.headers.get(name, "") for name in names}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/runs", 200), ("/v1/runs?x=1", 400), ("/v1/nowhere", 404), ("/healthz", 200), ("/metrics", 200)],
)
def test_the_api_is_no_page_and_is_kept_by_no_cache(acme: Member, path: str, status: int) -> None:
    answer = Api(acme.key).get(path)
    assert answer.status_code == status
    assert told(answer, API) == API


def test_so_is_what_is_refused_before_any_view(acme: Member) -> None:
    for answer in (Client(headers={"Host": "elsewhere"}).get("/v1/runs"), Client().get("/v1/runs")):
        assert answer.status_code in (400, 401)
        assert told(answer, API) == API


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/nowhere/", "/nowhere"])
def test_pages_run_our_scripts_only_and_stand_in_no_frame(path: str) -> None:
    answer = superuser().get(path)
    assert told(answer, ALL) == ALL
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'self'", "script-src 'self'", "object-src 'none'", "frame-ancestors 'none'"} <= set(policy)


@pytest.mark.parametrize("path", ["/v1/nowhere", "/healthz", "/admin/login/"])
def test_browsers_keep_to_tls_once_they_came_by_it(settings: Any, path: str) -> None:
    settings.SECURE_HSTS_SECONDS = 31_536_000
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert "Strict-Transport-Security" not in Client().get(path).headers
    secure = Client(headers={"X-Forwarded-Proto": "https"}).get(path)
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_cookies_of_the_admin_are_no_scripts(settings: Any) -> None:
    User.objects.create_user("ada", password="right", is_staff=True)
    client = Client()
    client.post("/admin/login/", {"username": "ada", "password": "right"})
    session = client.cookies["sessionid"]
    assert (session["httponly"], session["samesite"]) == (True, "Lax")
