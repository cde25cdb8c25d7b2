"""What a caller may do: the key's scope and the lower of its two roles must both allow it.

Which role and scope each path asks for: `tests/contract/test_isolation.py`.
"""

from __future__ import annotations

import pytest

from actions import action, registry
from tests.factories import Api, member
from workspaces.models import Membership

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_action(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @action("nothing-much")
    def nothing_much(input: dict) -> int:  # type: ignore[type-arg]
        return 1


def read(api: Api) -> int:
    return int(api.get("/v1/runs").status_code)


def launch(api: Api) -> int:
    return int(api.post("/v1/actions/nothing-much/async", {"inputs": [{}]}).status_code)


@pytest.mark.parametrize(
    ("of_key", "of_member", "launches"), [("USER", "ADMIN", 403), ("ADMIN", "USER", 403), ("OPS", "ADMIN", 202)]
)
def test_the_lower_of_the_keys_and_the_members_role(db: None, of_key: str, of_member: str, launches: int) -> None:
    someone = member(role="ADMIN")
    api = Api(member(email="b@acme.test", role="ADMIN").key)
    assert launch(api) == 202
    Membership.objects.filter(user__email="b@acme.test").update(role=of_member)
    from workspaces.models import ApiKey

    ApiKey.objects.filter(membership__user__email="b@acme.test").update(role=of_key)
    assert launch(api) == launches
    assert launch(Api(someone.key)) == 202


def test_a_refusal_says_what_it_takes(db: None) -> None:
    answer = Api(member(role="USER").key).post("/v1/actions/nothing-much/async", {"inputs": [{}]})
    error = answer.json()
    assert (error["error_label"], error["error_scope"]) == ("NO_ACCESS", "access")
    assert error["params"] == {"role": "USER", "allowed_roles": ["ADMIN", "OPS"]}
    answer = Api(member(scopes=["read"], email="b@acme.test").key).post(
        "/v1/actions/nothing-much/async", {"inputs": [{}]}
    )
    assert answer.json()["params"] == {"required_scope": "run", "scopes": ["read"]}
    assert "run" in answer.json()["message"]


def test_access_comes_before_the_body_and_the_query(db: None) -> None:
    api = Api(member(role="USER").key)
    assert api.post("/v1/actions/nothing-much/async?x=1", b"{").status_code == 403


def test_a_method_a_view_does_not_have_is_a_405_for_everyone(db: None) -> None:
    for api in (Api(None), Api(member(role="USER").key)):
        answer = api.client.delete("/v1/runs")
        assert (answer.status_code, answer.json()["error_label"]) == (405, "METHOD_NOT_ALLOWED")
        assert answer.json()["params"]["allowed"]
