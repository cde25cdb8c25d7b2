"""Who is let in: a key in one of two headers, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.factories import Api, Member
from workspaces import keys
from workspaces.models import ApiKey, User

pytestmark = pytest.mark.django_db


def status(**headers: str) -> int:
    return int(Api(None).get("/v1/runs", **headers).status_code)


def test_either_header_in_any_case(acme: Member) -> None:
    for name in ("X-API-Key", "x-api-key", "X-Api-KEY"):
        assert status(**{name: acme.key}) == 200
        assert status(**{name: f"  {acme.key} "}) == 200
    for kind in ("Bearer", "bearer", "BEARER"):
        assert status(Authorization=f"{kind} {acme.key}") == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "   "},
        {"X-API-Key": "ry_unknown"},
        {"X-API-Key": "é☃"},
        {"X-API-Key": "x" * 5_000},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer ry_unknown"},
        {"Authorization": "Basic {key}"},
        {"Authorization": "{key}"},
        {"Authorization": "Token {key}"},
        {"Cookie": "X-API-Key={key}"},
        {"X-API-Key": "Bearer {key}"},
        {"X-API-Key": "wrong", "Authorization": "Bearer {key}"},
    ],
)
def test_anything_else_is_401_with_the_body_of_every_error(acme: Member, headers: dict[str, str]) -> None:
    answer = Api(None).get("/v1/runs", **{name: value.format(key=acme.key) for name, value in headers.items()})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="runyard"'
    body = answer.json()
    assert (body["error_label"], body["error_scope"], body["status_code"]) == ("UNAUTHORIZED", "access", 401)
    assert body["error_ref"] == answer.headers["X-Request-Id"]
    assert acme.key not in answer.content.decode()


def test_a_key_in_the_query_is_no_key(acme: Member) -> None:
    assert Api(None).get(f"/v1/runs?api_key={acme.key}").status_code == 401


def test_a_revoked_key_fails_at_the_next_request(acme: Member) -> None:
    api = Api(acme.key)
    assert api.get("/v1/runs").status_code == 200
    keys.revoke_key(acme.row, now=timezone.now())
    assert api.get("/v1/runs").status_code == 401


def test_an_expired_key(acme: Member) -> None:
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert status(**{"X-API-Key": acme.key}) == 401
    ApiKey.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    assert status(**{"X-API-Key": acme.key}) == 200


def test_a_session_of_the_admin_does_not_open_the_api(acme: Member) -> None:
    staff = User.objects.create_superuser("root", password="not-a-secret")
    client = Client()
    client.force_login(staff)
    assert client.get("/admin/").status_code == 200
    assert client.get("/v1/runs").status_code == 401
    posted = client.post("/v1/actions/x/async", data="{}", content_type="application/json")
    assert posted.status_code == 401


def test_a_key_does_not_open_the_admin(acme: Member) -> None:
    answer = Api(acme.key).get("/admin/")
    assert answer.status_code == 302
    assert "/admin/login/" in answer.headers["Location"]


def test_a_write_with_a_key_needs_no_csrf_token(acme: Member) -> None:
    client = Client(enforce_csrf_checks=True, headers={"X-API-Key": acme.key})
    posted = client.post("/v1/actions/x/async", data='{"inputs": [{}]}', content_type="application/json")
    assert (posted.status_code, posted.json()["error_label"]) == (404, "NOT_FOUND")


def test_use_is_noted(acme: Member) -> None:
    before = timezone.now().replace(second=0, microsecond=0)
    status(**{"X-API-Key": acme.key})
    noted = ApiKey.objects.get().last_used_at
    assert noted is not None
    assert noted >= before
    assert noted.second == 0


def test_a_request_writes_and_reads_once(acme: Member, django_assert_num_queries: Any) -> None:
    api = Api(acme.key)
    ApiKey.objects.update(last_used_at=timezone.now() + timedelta(minutes=1))  # a minute may end in between
    with django_assert_num_queries(1):
        api.get("/v1/runs?limit=0")
