"""Who may do what under `/v1`, and that nobody reaches another workspace (contract sections 0 and 5).

Generated from the URL map: each path and method is tried by every role and scope, with the uids of another workspace,
and with keys that open nothing. A path or method without a line in ROUTES fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.utils import timezone

from rest.views import ListView
from tests.contract.isolation import Side, call, methods_of, routes, side
from tests.factories import member
from tests.runs.conftest import actions_of_the_test, double  # noqa: F401
from workspaces import keys
from workspaces.models import ApiKey, Membership, User

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("double")]

READ, RUN, MANAGE = "read", "run", "manage"
ROLES = {READ: {"ADMIN", "OPS", "USER"}, RUN: {"ADMIN", "OPS"}, MANAGE: {"ADMIN"}}
"""Whose role allows what a scope allows: ADMIN all; OPS runs, schedules and callbacks; USER reads (section 5)."""

ROUTES: dict[str, dict[str, str]] = {
    "v1/actions": {"GET": READ},
    "v1/actions/<name:action_name>": {"GET": READ},
    "v1/actions/<name:action_name>/run/live": {"POST": RUN},
    "v1/actions/<name:action_name>/live": {"POST": RUN},
    "v1/actions/<name:action_name>/run/async": {"POST": RUN},
    "v1/actions/<name:action_name>/async": {"POST": RUN},
    "v1/actions/<name:action_name>/run/schedule": {"POST": RUN},
    "v1/actions/<name:action_name>/schedule": {"POST": RUN},
    "v1/runs": {"GET": READ},
    "v1/runs/<uid:run_uid>": {"GET": READ, "DELETE": RUN},
    "v1/runs/<uid:run_uid>/status": {"GET": READ},
    "v1/runs/<uid:run_uid>/inputs": {"GET": READ},
    "v1/runs/<uid:run_uid>/outputs": {"GET": READ},
    "v1/runs/<uid:run_uid>/timeline": {"GET": READ},
    "v1/runs/<uid:run_uid>/cancel": {"POST": RUN},
    "v1/runs/<uid:run_uid>/resume": {"POST": RUN},
    "v1/runs/callbacks": {"GET": READ},
    "v1/runs/callbacks/replay": {"POST": RUN},
    "v1/runs/callbacks/<uid:callback_uid>": {"GET": READ},
    "v1/runs/callbacks/<uid:callback_uid>/replay": {"POST": RUN},
    "v1/callback-receivers": {"GET": READ},
    "v1/callback-receivers/test": {"POST": RUN},
    "v1/schedules": {"GET": READ},
    "v1/schedules/preview": {"GET": READ},
    "v1/schedules/<uid:schedule_uid>": {"GET": READ, "PATCH": RUN, "DELETE": RUN},
    "v1/schedules/<uid:schedule_uid>/pause": {"POST": RUN},
    "v1/schedules/<uid:schedule_uid>/resume": {"POST": RUN},
    "v1/schedules/<uid:schedule_uid>/cancel": {"POST": RUN},
    "v1/schedules/<uid:schedule_uid>/trigger": {"POST": RUN},
    "v1/schedules/<uid:schedule_uid>/preview": {"GET": READ},
    "v1/schedules/<uid:schedule_uid>/timeline": {"GET": READ},
    "v1/workspaces": {"GET": READ},
    "v1/workspaces/members": {"GET": READ},
    "v1/api-keys": {"GET": READ, "POST": MANAGE},
    "v1/api-keys/<uid:key_uid>": {"DELETE": MANAGE},
    "v1/webhook-secret": {"GET": MANAGE},
    "v1/webhook-secret/rotate": {"POST": MANAGE},
}
"""The scope that each path and method asks for."""

OPEN = {"healthz", "readyz", "metrics", "admin", "docs", "v1/openapi.json"}
"""What asks for no key and tells of no workspace. The pages below `admin/`: test_isolation_admin.py."""

CALLS = [(path, method) for path, methods in ROUTES.items() for method in methods]
WITH_UID = [(path, method) for path, method in CALLS if "<uid:" in path]


@pytest.fixture
def acme() -> Side:
    return side("Acme")


@pytest.fixture
def globex() -> Side:
    return side("Globex")


def filled(path: str, uids: dict[str, str]) -> str:
    """Return a path of the map with what stands in the place of its names."""
    path = path.replace("<name:action_name>", "double")
    for name, uid in uids.items():
        path = path.replace(f"<uid:{name}>", uid)
    assert "<" not in path, path
    return f"/{path}"


def test_every_path_and_method_has_a_line() -> None:
    found = {path: methods_of(pattern) for path, pattern in routes() if not path.startswith("admin/")}
    assert {path: methods for path, methods in found.items() if path not in OPEN} == {
        path: set(methods) for path, methods in ROUTES.items()
    }
    assert set(found) >= OPEN


def callers(acme: Side) -> Iterator[tuple[str, set[str], str]]:
    """Yield a key of each role with each scope alone and all together: role, scopes, key."""
    for role, scopes in product(("ADMIN", "OPS", "USER"), ([READ], [RUN], [MANAGE], [READ, RUN, MANAGE])):
        found = member(acme.owner.workspace.name, f"{role.lower()}@acme.test", role=role, scopes=scopes)
        yield role, set(scopes), found.key


def test_each_role_and_scope_with_the_uids_of_another_workspace(acme: Side, globex: Side) -> None:
    before, wrong = globex.state(), []
    for (role, scopes, key), (path, method) in product(list(callers(acme)), CALLS):
        scope = ROUTES[path][method]
        is_allowed = scope in scopes and role in ROLES[scope]
        sent = filled(path, globex.uids)
        answer = call(key, method, sent)
        status, text = answer.status_code, answer.content.decode()
        if not is_allowed:
            is_right = (status, answer.json()["error_label"]) == (403, "NO_ACCESS")
        elif "<uid:" in path:
            is_right = (status, answer.json()["error_label"]) == (404, "NOT_FOUND")
        else:  # what is sent along may be refused, who sends it may not
            is_right = status < 500 and status not in (401, 403, 404)
        if not is_right or any(mark in text for mark in globex.marks if mark not in sent):
            wrong.append(f"{role} {sorted(scopes)}: {method} {path}: {status} {text[:200]}")
    assert wrong == []
    assert globex.state() == before


def test_the_same_uids_lead_their_owner_somewhere(acme: Side, globex: Side) -> None:
    """Or the test before shows nothing."""
    wrong = []
    for path, method in WITH_UID:
        if method != "DELETE":
            answer = call(globex.owner.key, method, filled(path, globex.uids))
            if answer.status_code not in (200, 201, 202, 409):
                wrong.append(f"{method} {path}: {answer.status_code} {answer.content.decode()[:200]}")
    for path in ("v1/runs/<uid:run_uid>", "v1/schedules/<uid:schedule_uid>", "v1/api-keys/<uid:key_uid>"):
        answer = call(globex.owner.key, "DELETE", f"{filled(path, globex.uids)}{'?force=true' * ('run_' in path)}")
        if answer.status_code != 204:
            wrong.append(f"DELETE {path}: {answer.status_code} {answer.content.decode()[:200]}")
    assert wrong == []


def closed_doors(acme: Side) -> dict[str, str | None]:
    """Return keys that open nothing, by what is the matter with them."""
    now = timezone.now()
    doors = {
        name: member(acme.owner.workspace.name, f"{name}@acme.test")
        for name in ("expired", "revoked", "switched-off", "removed")
    }
    ApiKey.objects.filter(pk=doors["expired"].row.pk).update(expires_at=now - timedelta(seconds=1))
    keys.revoke_key(doors["revoked"].row, now=now)
    User.objects.filter(pk=doors["switched-off"].user.pk).update(is_active=False)
    Membership.objects.filter(pk=doors["removed"].membership.pk).delete()
    malformed = {"missing": None, "unknown": "ry_unknown", "cut": acme.owner.key[:-1]}
    return {**{name: one.key for name, one in doors.items()}, **malformed}


def test_keys_that_open_nothing(acme: Side) -> None:
    before, wrong = acme.state(), []
    for (name, key), (path, method) in product(closed_doors(acme).items(), CALLS):
        answer = call(key, method, filled(path, acme.uids))
        if (answer.status_code, answer.json()["error_label"]) != (401, "UNAUTHORIZED"):
            wrong.append(f"{name}: {method} {path}: {answer.status_code} {answer.content.decode()[:200]}")
    assert wrong == []
    assert acme.state() == before


def test_uids_of_another_workspace_filter_nothing_out_of_it(acme: Side, globex: Side) -> None:
    uids = [*globex.uids.values(), str(globex.owner.workspace.uid), str(globex.owner.user.uid)]
    tried = 0
    for path, pattern in routes():
        view: Any = getattr(pattern.callback, "cls", None)
        if not (isinstance(view, type) and issubclass(view, ListView) and view.filters) or "<" in path:
            continue
        for name, uid in product(sorted(view.filters.parameters()), uids):
            if name.endswith("uid"):
                tried += 1
                answer = call(acme.owner.key, "GET", f"/{path}?{name}={uid}")
                assert (answer.status_code, answer.json()) == (200, []), (path, name)
    assert tried >= 40


def test_uids_of_another_workspace_in_a_body(acme: Side, globex: Side) -> None:
    before = globex.state()
    dependent = {"inputs": [{"n": 1}], "depends_on": [globex.uids["run_uid"]]}
    answer = call(acme.owner.key, "POST", "/v1/actions/double/async", dependent)
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_INPUT")
    replay = {"run_uid": globex.uids["run_uid"], "status": "FAILED"}
    answer = call(acme.owner.key, "POST", "/v1/runs/callbacks/replay", replay)
    assert answer.status_code in (202, 404)
    assert answer.status_code == 404 or answer.json()["count"] == 0
    assert globex.state() == before


@pytest.mark.parametrize("path", sorted(OPEN))
def test_what_is_open_tells_of_no_workspace(acme: Side, path: str) -> None:
    answer = call(None, "GET", f"/{path}")
    assert answer.status_code in (200, 301, 302)
    text = f"{answer.content.decode()} {answer.headers}"
    assert [mark for mark in acme.marks if mark in text] == []
