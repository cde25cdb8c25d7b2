"""Every page of the admin: strangers are asked to sign in, and staff of one workspace get at nothing of another.

Generated from the URL map: a model in the admin without a line in MODELS fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from tests.contract.isolation import Side, routes, side
from tests.factories import member
from tests.runs.conftest import actions_of_the_test, double  # noqa: F401
from tests.staff import signed_in
from workspaces.models import User

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("double")]

MODELS: dict[str, Callable[[Side], Any] | None] = {
    "runs/run": lambda of: of.run,
    "schedules/schedule": lambda of: of.schedule,
    "webhooks/callback": lambda of: of.callback,
    "webhooks/receiver": lambda of: of.callback.receiver,
    "workspaces/apikey": lambda of: of.owner.row,
    "workspaces/membership": lambda of: of.owner.membership,
    "workspaces/workspace": lambda of: of.owner.workspace,
    "workspaces/user": lambda of: of.owner.user,
    "actions/action": None,
    "auth/group": None,
    "config/processheartbeat": None,
    "django_celery_beat/crontabschedule": None,
    "django_celery_beat/intervalschedule": None,
    "django_celery_beat/periodictask": None,
}
"""Which row of a workspace a model's pages are tried with; None where its rows are the installation's, not one's."""

BESIDE = {
    "admin/", "admin/login/", "admin/logout/", "admin/search/", "admin/autocomplete/", "admin/jsi18n/",
    "admin/password_change/", "admin/password_change/done/", "admin/r/<path:content_type_id>/<path:object_id>/",
}  # fmt: skip
"""Pages of no model. `app_list`, and the page for every path there is not, are written as regular expressions."""

PAGES = sorted(path for path, _ in routes() if path.startswith("admin/") and "(?P<" not in path)


def model_of(path: str) -> str:
    """Return the model that a page is of, as its address begins with it."""
    return "/".join(path.split("/")[1:3])


def test_every_page_has_a_line() -> None:
    assert {model_of(path) for path in PAGES if path not in BESIDE} == set(MODELS)
    assert set(PAGES) >= BESIDE


def filled(path: str, row: Any) -> str:
    for name in ("<path:object_id>", "<id>"):
        path = path.replace(name, str(row.pk) if row else "1")
    path = path.replace("<str:action_name>", "double").replace("<path:content_type_id>", "1")
    assert "<" not in path, path
    return f"/{path}"


@pytest.mark.parametrize("who", ["stranger", "caller with a key", "user who is no staff"])
def test_nobody_but_staff_sees_anything(who: str) -> None:
    acme, outsider = side("Acme"), member("Globex", "hank@globex.test").user
    client = {
        "stranger": Client,
        "caller with a key": lambda: Client(headers={"X-API-Key": acme.owner.key}),
        "user who is no staff": lambda: signed_in(outsider),
    }[who]()
    before, wrong = acme.state(), []
    for path in PAGES:
        of = MODELS.get(model_of(path))
        for method in ("get", "post"):
            answer = getattr(client, method)(filled(path, of(acme) if of else None))
            asks = answer.status_code == 302 and answer.headers["Location"].startswith("/admin/login/")
            if not asks and path not in ("admin/login/", "admin/logout/"):
                wrong.append(f"{method} {path}: {answer.status_code}")
            if any(mark in answer.content.decode() for mark in acme.marks):
                wrong.append(f"{method} {path} tells of it")
    assert wrong == []
    assert acme.state() == before


def staff_of(one: Side) -> Client:
    """Return the browser of somebody who may do everything in a workspace, and is no superuser."""
    user = User.objects.get(pk=one.owner.user.pk)
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    user.user_permissions.set(Permission.objects.all())
    return signed_in(user)


def tries(path: str, row: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is sent to a page: looking, confirming a verb, and a list's verb with the row chosen."""
    yield "get", {}
    if row is None:
        return
    yield "post", {"post": "yes"}
    if "/bulk/" in path:
        yield "post", {"rows": str(row.pk)}
        yield "get", {"rows": str(row.pk)}


def test_staff_of_one_workspace_get_at_nothing_of_another() -> None:
    acme, globex = side("Acme"), side("Globex")
    client, before, wrong = staff_of(acme), globex.state(), []
    for path in PAGES:
        if path == "admin/logout/":
            continue
        of = MODELS.get(model_of(path))
        row = of(globex) if of else None
        for method, sent in tries(path, row):
            answer = getattr(client, method)(filled(path, row), sent)
            text = b"".join(answer).decode() if answer.streaming else answer.content.decode()
            is_of_row = (row is not None and "object_id" in path) or "<id>" in path
            if answer.status_code >= 500 or (is_of_row and answer.status_code == 200):
                wrong.append(f"{method} {path} {sent}: {answer.status_code}")
            if told := [mark for mark in globex.marks if mark in text]:
                wrong.append(f"{method} {path} {sent}: {answer.status_code} tells {told}")
    assert wrong == []
    assert globex.state() == before


def test_the_same_pages_show_staff_their_own() -> None:
    """Or the test before shows nothing."""
    acme = side("Acme")
    client = staff_of(acme)
    for model, of in MODELS.items():
        if of:
            assert client.get(f"/admin/{model}/{of(acme).pk}/change/").status_code == 200, model
