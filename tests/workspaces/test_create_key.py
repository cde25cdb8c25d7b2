"""`manage.py create_key`: makes what is missing and prints only the key."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.factories import Api
from workspaces.models import ApiKey, Membership, User, Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def create(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*arguments: str, workspace: str = "Acme", email: str = "ada@acme.test") -> str:
        call_command("create_key", "--workspace", workspace, "--email", email, *arguments)
        shown = capsys.readouterr()
        assert shown.err == ""
        assert shown.out.endswith("\n")
        return shown.out[:-1]

    return call


def test_the_first_key_of_all(create) -> None:  # type: ignore[no-untyped-def]
    key = create()
    assert key.startswith("ry_")
    assert " " not in key
    assert "\n" not in key
    assert Api(key).get("/v1/runs").status_code == 200
    assert (Workspace.objects.get().name, User.objects.get().email) == ("Acme", "ada@acme.test")
    assert (Membership.objects.get().role, ApiKey.objects.get().scopes) == ("ADMIN", ["manage", "read", "run"])
    assert ApiKey.objects.get().expires_at is None


def test_again_it_makes_only_a_key(create) -> None:  # type: ignore[no-untyped-def]
    first, second = create(), create(workspace="ACME", email="ADA@acme.test")
    assert first != second
    assert (Workspace.objects.count(), User.objects.count(), Membership.objects.count()) == (1, 1, 1)
    assert all(Api(key).get("/v1/runs").status_code == 200 for key in (first, second))


def test_options(create) -> None:  # type: ignore[no-untyped-def]
    create("--role", "OPS", "--scopes", "run", "read", "--expires-in-days", "3", "--name", "CI")
    row = ApiKey.objects.get()
    assert (row.role, row.scopes, row.name) == ("OPS", ["read", "run"], "CI")
    assert timedelta(days=2, hours=23) < row.expires_at - timezone.now() <= timedelta(days=3)


def test_scopes_by_comma(create) -> None:  # type: ignore[no-untyped-def]
    create("--scopes", "read,run")
    assert ApiKey.objects.get().scopes == ["read", "run"]


def test_a_key_of_a_lower_role_leaves_its_member_alone(create) -> None:  # type: ignore[no-untyped-def]
    create()
    key = create("--role", "USER")
    assert Membership.objects.get().role == "ADMIN"
    assert Api(key).post("/v1/actions/x/async", {}).status_code == 403


def test_an_address_on_this_machine_will_do(create) -> None:  # type: ignore[no-untyped-def]
    assert create(email="admin@localhost")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"email": "nobody"}, "e-mail"),
        ({"email": "@x"}, "e-mail"),
        ({"email": "a@b@c"}, "e-mail"),
        ({"email": f"{'a' * 60}@{'b' * 60}.{'c' * 60}.test"}, "--email"),
        ({"workspace": "  "}, "--workspace"),
        ({"workspace": "w" * 256}, "--workspace"),
        ({"options": ["--role", "ROOT"]}, "--role"),
        ({"options": ["--scopes", "write"]}, "--scopes"),
        ({"options": ["--expires-in-days", "0"]}, "--expires-in-days"),
        ({"options": ["--expires-in-days", "x"]}, "--expires-in-days"),
        ({"options": ["--expires-in-days", "99999999999"]}, "--expires-in-days"),
        ({"options": ["--name", "n" * 256]}, "--name"),
    ],
)
def test_what_it_does_not_take(create, arguments: dict[str, object], message: str) -> None:  # type: ignore[no-untyped-def]
    options = arguments.pop("options", [])
    with pytest.raises(CommandError) as caught:
        create(*options, **arguments)
    assert message in str(caught.value)
    assert not any(model.objects.exists() for model in (Workspace, User, Membership, ApiKey))
