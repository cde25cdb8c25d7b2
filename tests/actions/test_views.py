from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from pydantic import BaseModel

from actions import ActionDefinition, action, registry
from actions.models import Action
from workspaces.keys import make_key
from workspaces.models import Membership, Role, User, Workspace

pytestmark = pytest.mark.django_db


class Company(BaseModel):
    domain: str


class Profile(BaseModel):
    name: str


@pytest.fixture
def client() -> Client:
    workspace = Workspace.objects.create(name="Here")
    user = User.objects.create(username="someone")
    membership = Membership.objects.create(workspace=workspace, user=user, role=Role.USER)
    _, key = make_key(membership)
    return Client(headers={"x-api-key": key})


@pytest.fixture
def enrich() -> ActionDefinition:
    @action("enrich-company", timeout_s=20, max_attempts=3, rate="600/m", errors={"NO_SUCH_COMPANY": "Not found."})
    def enrich_company(input: Company) -> list[Profile]:
        """Find a company's profile.

        From its domain.
        """
        return []

    return enrich_company


def get(client: Client, path: str, status: int = 200) -> tuple[Any, Any]:
    answer = client.get(path)
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/json"
    return json.loads(answer.content), answer.headers


def test_one_action(client: Client, enrich: ActionDefinition) -> None:
    found, _ = get(client, "/v1/actions/enrich-company")
    assert found == {
        "id": Action.objects.get(name="enrich-company").pk,
        "name": "enrich-company",
        "title": "Find a company's profile",
        "description": "From its domain.",
        "input_schema": Company.model_json_schema(),
        "parameters_schema": enrich.parameters_schema,
        "output_schema": Profile.model_json_schema(mode="serialization"),
        "output_kind": "many",
        "modes": ["live", "async", "schedule"],
        "errors": {"NO_SUCH_COMPANY": "Not found."},
        "enabled": True,
        "paused": False,
        "limits": {
            "timeout_s": 20,
            "max_attempts": 3,
            "concurrency": 1,
            "max_concurrency": None,
            "rate": "600/m",
        },
    }


def test_it_shows_what_staff_have_set(client: Client, enrich: ActionDefinition) -> None:
    Action.objects.create(name="enrich-company", enabled=False, paused=True, timeout_s=2.5, max_attempts=9)
    found, _ = get(client, "/v1/actions/enrich-company")
    assert (found["enabled"], found["paused"]) == (False, True)
    assert (found["limits"]["timeout_s"], found["limits"]["max_attempts"]) == (2.5, 3)


def test_all_actions_by_name(client: Client, enrich: ActionDefinition) -> None:
    found, headers = get(client, "/v1/actions?limit=100")
    assert [entry["name"] for entry in found] == registry.names()
    assert found[registry.names().index("enrich-company")] == get(client, "/v1/actions/enrich-company")[0]
    assert headers["X-Pagination-Total"] == str(len(registry.names()))


def test_pages_tile_the_list(client: Client, enrich: ActionDefinition) -> None:
    names, path = [], "/v1/actions?limit=1"
    for _ in registry.names():
        found, headers = get(client, path)
        names += [entry["name"] for entry in found]
        path = headers.get("X-Pagination-Next", "").removeprefix("http://testserver")
    assert (names, path) == (registry.names(), "")
    assert get(client, "/v1/actions?limit=1&offset=1")[0][0]["name"] == registry.names()[1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "offset=1000001", "name=x", "sort=name"])
def test_queries_that_are_refused(client: Client, query: str) -> None:
    error, _ = get(client, f"/v1/actions?{query}", status=400)
    assert error["error_label"] == "BAD_PARAMETERS"
    assert query.partition("=")[0] in error["message"]


def test_one_action_takes_no_query(client: Client, enrich: ActionDefinition) -> None:
    assert get(client, "/v1/actions/enrich-company?limit=1", status=400)[0]["error_label"] == "BAD_PARAMETERS"


@pytest.mark.parametrize("name", ["no-such-action", "Enrich-Company", "%00", "a" * 5_000])
def test_an_action_that_is_not_there(client: Client, enrich: ActionDefinition, name: str) -> None:
    error, _ = get(client, f"/v1/actions/{name}", status=404)
    assert error["error_label"] == "NOT_FOUND"


@pytest.mark.parametrize("path", ["/v1/actions", "/v1/actions/inspect-url"])
def test_methods_and_keys(client: Client, path: str) -> None:
    assert client.post(path, {}, content_type="application/json").status_code == 405
    assert client.head(path).status_code == 200
    assert Client().get(path).status_code == 401


def test_the_list_asks_the_database_little(
    client: Client, enrich: ActionDefinition, django_assert_max_num_queries: Any
) -> None:
    get(client, "/v1/actions")
    with django_assert_max_num_queries(6):
        get(client, "/v1/actions?limit=100")
