"""`/v1/workspaces`, its members and its keys: what they say, to whom, and how a key is made and revoked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from runs.models import InputSet
from tests.factories import Api, Member, member
from workspaces import keys
from workspaces.models import ApiKey, Membership, User

pytestmark = pytest.mark.django_db

KEYS = "/v1/api-keys"
FIELDS = ["uid", "name", "prefix", "scopes", "role", "expires_at", "last_used_at", "created_at", "user_uid"]


def refused(answer: Any, status: int, label: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error_label"]) == (status, label), answer.content
    error: dict[str, Any] = answer.json()
    return error


def made(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 201, answer.content
    shown: dict[str, Any] = answer.json()
    return shown


# --- The workspace --------------------------------------------------------------------------------------------


def test_the_workspace_with_what_it_may_and_holds(acme: Member, other: Member, api: Api, settings: Any) -> None:
    settings.RUNYARD_RATE_LIMIT = "100/s"
    keys.revoke_key(keys.make_key(acme.membership)[0], now=timezone.now())
    api.post("/v1/actions/inspect-url/async", {"inputs": [{"url": "https://a.test"}]})
    answer = api.get("/v1/workspaces")
    (shown,) = answer.json()
    assert answer.headers["X-Pagination-Total"] == "1"
    assert datetime.fromisoformat(shown.pop("created_at")) == acme.workspace.created_at
    assert shown == {
        "uid": str(acme.workspace.uid),
        "name": "Acme",
        "role": "ADMIN",
        "limits": {
            "rate_limit": "100/s",
            "api_keys": 1_000,
            "unfinished_runs": 10_000,
            "schedules": 10_000,
            "stored_bytes": None,
            "body_bytes": 64 * 1024 * 1024,
            "inputs_per_run": 100_000,
            "input_bytes": 256 * 1024,
            "custom_data_bytes": 4 * 1024,
            "parameters_bytes": 256 * 1024,
            "output_bytes": 1024 * 1024,
            "outputs_per_input": 10_000,
            "output_bytes_per_input": 16 * 1024 * 1024,
            "callback_headers": 20,
            "callback_header_bytes": 8 * 1024,
        },
        "usage": {
            "api_keys": 1,
            "unfinished_runs": 1,
            "stored_bytes": InputSet.objects.get().stored_bytes,
            "schedules": 0,
        },
    }


def test_the_role_shown_is_the_callers(acme: Member) -> None:
    _, key = keys.make_key(acme.membership, role="USER")
    assert Api(key).get("/v1/workspaces").json()[0]["role"] == "USER"


def test_a_user_of_two_workspaces_sees_the_one_of_the_key(acme: Member) -> None:
    second = member("Globex", acme.user.email)
    assert second.user == acme.user
    for one in (acme, second):
        assert [shown["uid"] for shown in Api(one.key).get("/v1/workspaces").json()] == [str(one.workspace.uid)]


# --- Members --------------------------------------------------------------------------------------------------


def test_members(acme: Member, other: Member, api: Api) -> None:
    second = member(email="bob@acme.test", role="OPS")
    User.objects.filter(pk=second.user.pk).update(is_active=False)
    first, last = api.get("/v1/workspaces/members?sort=created_at").json()
    assert list(first) == ["uid", "user_uid", "username", "email", "role", "is_active", "created_at"]
    assert (first["uid"], first["user_uid"]) == (str(acme.membership.uid), str(acme.user.uid))
    assert (first["username"], first["email"], first["role"], first["is_active"]) == (
        "ada@acme.test", "ada@acme.test", "ADMIN", True,
    )  # fmt: skip
    assert (last["email"], last["role"], last["is_active"]) == ("bob@acme.test", "OPS", False)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["cy", "bob", "ada"]),
        ("?sort=email", ["ada", "bob", "cy"]),
        ("?sort=-username&limit=2", ["cy", "bob"]),
        ("?role=OPS,USER", ["cy", "bob"]),
        ("?role=ADMIN", ["ada"]),
        ("?user_uid=0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3", []),
    ],
)
def test_members_in_an_order_and_by_role(acme: Member, api: Api, query: str, names: list[str]) -> None:
    member(email="bob@acme.test", role="OPS")
    member(email="cy@acme.test", role="USER")
    answer = api.get(f"/v1/workspaces/members{query}")
    assert [one["email"].partition("@")[0] for one in answer.json()] == names


def test_members_page_by_page(acme: Member, api: Api) -> None:
    for number in range(5):
        member(email=f"m{number}@acme.test", role="USER")
    found = api.walk("/v1/workspaces/members?limit=2&sort=email")
    assert [one["email"] for one in found] == ["ada@acme.test", *[f"m{number}@acme.test" for number in range(5)]]


# --- The list of keys -----------------------------------------------------------------------------------------


def test_keys_without_the_keys(acme: Member, other: Member, api: Api) -> None:
    later = timezone.now() + timedelta(days=1)
    row, key = keys.make_key(acme.membership, role="OPS", scopes=["run", "read"], name="CI", expires_at=later)
    answer = api.get(KEYS)
    newest, oldest = answer.json()
    assert list(newest) == FIELDS
    assert datetime.fromisoformat(newest.pop("created_at")) == row.created_at
    assert datetime.fromisoformat(newest.pop("expires_at")) == later
    assert newest == {
        "uid": str(row.uid),
        "name": "CI",
        "prefix": key[:10],
        "scopes": ["read", "run"],
        "role": "OPS",
        "last_used_at": None,
        "user_uid": str(acme.user.uid),
    }
    assert oldest["uid"] == str(acme.row.uid)
    assert oldest["last_used_at"].endswith(":00Z"), "to the minute"
    for secret in (key, acme.key, keys.hash_key(key)):
        assert secret not in answer.content.decode()


def test_revoked_keys_are_gone_and_expired_ones_are_shown(acme: Member, api: Api) -> None:
    keys.revoke_key(keys.make_key(acme.membership, name="revoked")[0], now=timezone.now())
    keys.make_key(acme.membership, name="expired", expires_at=timezone.now() - timedelta(days=1))
    assert [one["name"] for one in api.get(KEYS).json()] == ["expired", ""]


def test_the_role_shown_is_the_one_in_force(acme: Member, api: Api) -> None:
    second = member(email="bob@acme.test", role="ADMIN")
    Membership.objects.filter(pk=second.membership.pk).update(role="USER")
    (shown,) = api.get(f"{KEYS}?user_uid={second.user.uid}").json()
    assert (shown["uid"], shown["role"]) == (str(second.row.uid), "USER")


def test_keys_in_an_order(acme: Member, api: Api) -> None:
    now = timezone.now()
    for name, days in (("b", 2), ("a", 1), ("c", None)):
        keys.make_key(acme.membership, name=name, expires_at=days and now + timedelta(days=days))
    assert [one["name"] for one in api.get(f"{KEYS}?sort=name").json()] == ["", "a", "b", "c"]
    assert [one["name"] for one in api.get(f"{KEYS}?sort=expires_at,-name").json()] == ["a", "b", "c", ""]
    assert [one["name"] for one in api.walk(f"{KEYS}?sort=-expires_at&limit=1")] == ["c", "", "b", "a"]


@pytest.mark.parametrize("path", ["/v1/workspaces", "/v1/workspaces/members", KEYS])
def test_reading_is_for_whoever_may_read(acme: Member, path: str) -> None:
    _, of_a_user = keys.make_key(acme.membership, role="USER", scopes=["read"])
    _, unable = keys.make_key(acme.membership, scopes=["run", "manage"])
    assert Api(of_a_user).get(path).status_code == 200
    refused(Api(unable).get(path), 403, "NO_ACCESS")
    refused(Api(None).get(path), 401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/workspaces?name=Acme", "name"),
        ("/v1/workspaces?sort=name", "sort"),
        ("/v1/workspaces/members?role=ROOT", "role"),
        ("/v1/workspaces/members?sort=role", "sort"),
        (f"{KEYS}?user_uid=x", "user_uid"),
        (f"{KEYS}?sort=key_hash", "sort"),
        (f"{KEYS}?limit=0", "limit"),
    ],
)
def test_a_query_that_cannot_be(api: Api, path: str, parameter: str) -> None:
    assert refused(api.get(path), 400, "BAD_PARAMETERS")["params"]["parameter"] == parameter


@pytest.mark.parametrize(
    ("path", "queries"),
    # Each: the key, its use, the count, the rows; the workspace counts its three quotas besides.
    [("/v1/workspaces", 8), ("/v1/workspaces/members", 4), (KEYS, 4)],
)
def test_a_list_asks_no_more_for_more_rows(
    acme: Member, api: Api, path: str, queries: int, django_assert_num_queries: Any
) -> None:
    for number in range(12):
        member(email=f"m{number}@acme.test", role="USER")
    with django_assert_num_queries(queries):
        assert api.get(f"{path}?limit=100").status_code == 200


# --- Making a key ---------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_works(acme: Member, api: Api) -> None:
    body = {"name": "CI", "scopes": ["run", "read"], "role": "OPS", "expires_in_days": 30}
    answer = api.post(KEYS, body)
    shown = made(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    assert list(shown) == [*FIELDS, "key"]
    assert (shown["name"], shown["scopes"], shown["role"]) == ("CI", ["read", "run"], "OPS")
    assert (shown["last_used_at"], shown["user_uid"]) == (None, str(acme.user.uid))
    assert shown["key"].startswith(shown["prefix"])
    assert shown["created_at"].endswith("Z")
    expiry, row = datetime.fromisoformat(shown["expires_at"]), ApiKey.objects.get(uid=shown["uid"])
    assert timedelta(days=29, hours=23) < expiry - timezone.now() <= timedelta(days=30)
    assert (row.expires_at, row.key_hash) == (expiry, keys.hash_key(shown["key"]))
    assert Api(shown["key"]).get("/v1/runs").status_code == 200
    refused(Api(shown["key"]).post(KEYS, {}), 403, "NO_ACCESS")
    assert "key" not in api.get(KEYS).json()[0]


@pytest.mark.parametrize(
    "body",
    [{}, {"name": "", "scopes": None, "role": None, "expires_at": None, "expires_in_days": None, "user_uid": None}],
    ids=["absent", "null"],
)
def test_what_is_left_out_is_as_much_as_may_be(acme: Member, body: dict[str, Any]) -> None:
    _, key = keys.make_key(acme.membership, scopes=["manage", "read"])
    shown = made(Api(key).post(KEYS, body))
    assert (shown["name"], shown["scopes"], shown["role"]) == ("", ["manage", "read"], "ADMIN")
    assert (shown["expires_at"], shown["user_uid"]) == (None, str(acme.user.uid))


def test_without_a_body_at_all(api: Api) -> None:
    assert api.client.generic("POST", KEYS).status_code == 201


def test_a_time_to_expire_at(api: Api) -> None:
    assert made(api.post(KEYS, {"expires_at": "2999-01-01T01:00:00+01:00"}))["expires_at"] == "2999-01-01T00:00:00Z"


def test_a_key_for_another_member(acme: Member, api: Api) -> None:
    second = member(email="bob@acme.test", role="OPS")
    shown = made(api.post(KEYS, {"user_uid": str(second.user.uid).upper()}))
    assert (shown["role"], shown["user_uid"]) == ("OPS", str(second.user.uid))
    refused(api.post(KEYS, {"user_uid": str(second.user.uid), "role": "ADMIN"}), 403, "NO_ACCESS")


def test_no_key_gives_on_more_than_it_has(acme: Member) -> None:
    _, key = keys.make_key(acme.membership, scopes=["manage", "read"])
    error = refused(Api(key).post(KEYS, {"scopes": ["read", "run"]}), 403, "NO_ACCESS")
    assert error["params"] == {"field": "scopes", "allowed": ["manage", "read"]}
    assert "run" in error["message"]
    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize("role", ["OPS", "USER"])
def test_keys_are_made_and_revoked_by_admins(acme: Member, role: str) -> None:
    second = member(email="bob@acme.test", role=role)
    for api in (Api(second.key), Api(keys.make_key(acme.membership, role=role)[1])):
        refused(api.post(KEYS, {}), 403, "NO_ACCESS")
        refused(api.client.delete(f"{KEYS}/{acme.row.uid}"), 403, "NO_ACCESS")


def test_managing_takes_its_scope(acme: Member) -> None:
    api = Api(keys.make_key(acme.membership, scopes=["read", "run"])[1])
    assert refused(api.post(KEYS, {}), 403, "NO_ACCESS")["params"]["required_scope"] == "manage"
    refused(api.client.delete(f"{KEYS}/{acme.row.uid}"), 403, "NO_ACCESS")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"nmae": "CI"}, "nmae"),
        ({"key": "ry_mine"}, "key"),
        ({"x" * 500: 1}, "x" * 60),
        ({"name": 1}, "name"),
        ({"name": "n" * 256}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": ["read", "write"]}, "scopes.1"),
        ({"scopes": ["read"] * 4}, "scopes"),
        ({"role": "ROOT"}, "role"),
        ({"role": ["ADMIN"]}, "role"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 36_501}, "expires_in_days"),
        ({"expires_in_days": "3"}, "expires_in_days"),
        ({"expires_in_days": 1.5}, "expires_in_days"),
        ({"expires_in_days": True}, "expires_in_days"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": 4_000_000_000}, "expires_at"),
        ({"expires_at": "2025-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2025-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00Z", "expires_in_days": 1}, "expires_in_days"),
        ({"user_uid": "me"}, "user_uid"),
        ({"user_uid": 7}, "user_uid"),
        ({"user_uid": "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"}, "user_uid"),
        ([], ""),
        ("CI", ""),
        (None, ""),
    ],
)
def test_a_body_that_cannot_be(api: Api, body: Any, field: str) -> None:
    error = refused(api.post(KEYS, body), 400, "BAD_INPUT")
    assert error["params"]["field"] == field
    assert field in error["message"]
    assert ApiKey.objects.count() == 1


def test_a_member_of_another_workspace_is_none_of_this_one(api: Api, other: Member) -> None:
    assert refused(api.post(KEYS, {"user_uid": str(other.user.uid)}), 400, "BAD_INPUT")["params"]["field"] == "user_uid"


def test_nothing_is_made_for_who_is_switched_off(acme: Member, api: Api) -> None:
    second = member(email="bob@acme.test", role="OPS")
    User.objects.filter(pk=second.user.pk).update(is_active=False)
    error = refused(api.post(KEYS, {"user_uid": str(second.user.uid)}), 400, "BAD_INPUT")
    assert "switched off" in error["message"]


def test_the_lists_parameters_are_not_of_the_making(api: Api) -> None:
    refused(api.post(f"{KEYS}?limit=5", {}), 400, "BAD_PARAMETERS")


def test_a_workspace_has_so_many_keys(acme: Member, other: Member, api: Api, settings: Any) -> None:
    settings.RUNYARD_MAX_API_KEYS = 2
    second = made(api.post(KEYS, {"expires_at": "2999-01-01T00:00:00Z"}))
    answer = api.post(KEYS, {})
    error = refused(answer, 429, "LIMIT_REACHED")
    assert error["params"] == {"limit": 2, "used": 2, "setting": "RUNYARD_MAX_API_KEYS"}
    assert answer.headers["Retry-After"] == "60"
    assert Api(other.key).post(KEYS, {}).status_code == 201
    assert api.client.delete(f"{KEYS}/{second['uid']}").status_code == 204
    made(api.post(KEYS, {}))


# --- Revoking a key -------------------------------------------------------------------------------------------


def test_a_revoked_key_fails_at_the_next_request(api: Api) -> None:
    shown = made(api.post(KEYS, {}))
    assert Api(shown["key"]).get("/v1/runs").status_code == 200
    answer = api.client.delete(f"{KEYS}/{shown['uid'].upper()}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert Api(shown["key"]).get("/v1/runs").status_code == 401
    refused(api.client.delete(f"{KEYS}/{shown['uid']}"), 404, "NOT_FOUND")


def test_a_key_may_revoke_itself(acme: Member, api: Api) -> None:
    assert api.client.delete(f"{KEYS}/{acme.row.uid}").status_code == 204
    refused(api.get("/v1/runs"), 401, "UNAUTHORIZED")


def test_another_workspaces_key_is_not_there(api: Api, other: Member) -> None:
    refused(api.client.delete(f"{KEYS}/{other.row.uid}"), 404, "NOT_FOUND")
    assert Api(other.key).get("/v1/runs").status_code == 200


def test_a_key_is_revoked_and_nothing_else(api: Api, acme: Member) -> None:
    for method in ("get", "put", "patch", "post"):
        answer = getattr(api.client, method)(f"{KEYS}/{acme.row.uid}")
        refused(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["Allow"] == "DELETE"
