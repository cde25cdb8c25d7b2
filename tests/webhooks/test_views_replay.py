"""`POST .../replay`, of one callback and in bulk: what it answers, to whom it says no, and once for each key."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from rest.json import rfc3339
from tests.factories import Api, Member
from tests.webhooks.callbacks import callback, destination
from webhooks.models import Callback
from workspaces import keys
from workspaces.models import IdempotencyKey

pytestmark = pytest.mark.django_db

LIST = "/v1/runs/callbacks"
BULK = f"{LIST}/replay"
UID = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"


def path_of(made: Callback) -> str:
    return f"{LIST}/{made.uid}/replay"


def send(api: Api, path: str, body: Any = b"", key: str | None = None) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Idempotency-Key": key} if key else {}
    return api.client.post(path, data=data, content_type="application/json", headers=headers)


def refused(answer: Any, status: int, label: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error_label"]) == (status, label), answer.content
    params: dict[str, Any] = answer.json()["params"]
    return params


# --- One ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize("status", ["FAILED", "SUCCESS"])
def test_the_new_callback_is_the_answer(api: Api, acme: Member, status: str, body: bytes) -> None:
    parent = callback(acme, status)
    answer = send(api, path_of(parent), body)
    assert answer.status_code == 201, answer.content
    shown = answer.json()
    assert answer.headers["Location"] == f"{LIST}/{shown['uid']}"
    assert api.get(answer.headers["Location"]).json() == shown
    before = api.get(f"{LIST}/{parent.uid}").json()
    assert shown["parent_uid"] == before["uid"]
    for name in ("callback_ref_uid", "callback_url", "run_uid", "batch_uid", "workspace_uid"):
        assert shown[name] == before[name], name
    assert (shown["status"], shown["retry_count"], shown["attempts"], shown["http_status"]) == ("PENDING", 0, [], None)
    assert shown["next_attempt_at"] == shown["created_at"]
    assert [one["uid"] for one in api.get(LIST).json()] == [shown["uid"], before["uid"]]


def test_without_a_body_or_its_type(api: Api, acme: Member) -> None:
    assert api.client.generic("POST", path_of(callback(acme))).status_code == 201


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_one_that_is_still_to_arrive(api: Api, acme: Member, status: str) -> None:
    assert refused(send(api, path_of(callback(acme, status)), key="k"), 409, "CONFLICT") == {"status": status}
    assert IdempotencyKey.objects.count() == 0, "a call that was refused may be made again"


def test_an_unknown_and_anothers_are_not_there(api: Api, other: Member) -> None:
    for uid in (UID, callback(other).uid):
        assert refused(send(api, f"{LIST}/{uid}/replay", key="k"), 404, "NOT_FOUND") == {"callback_uid": str(uid)}
    assert Callback.objects.count() == 1


@pytest.mark.parametrize("body", [[], "x", 1, {"status": "FAILED"}, b"{"])
def test_a_body_that_cannot_be(api: Api, acme: Member, body: Any) -> None:
    refused(send(api, path_of(callback(acme)), body), 400, "BAD_INPUT")
    assert Callback.objects.count() == 1


def test_replaying_is_a_post_without_a_query(api: Api, acme: Member) -> None:
    path = path_of(callback(acme))
    for one in (path, BULK):
        answer = api.get(one)
        refused(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["Allow"] == "POST"
    refused(send(api, f"{path}?force=true"), 400, "BAD_PARAMETERS")


# --- In bulk --------------------------------------------------------------------------------------------------


def test_those_of_a_run(api: Api, acme: Member) -> None:
    run_uid, to = uuid4(), destination(acme)
    for status in ("FAILED", "FAILED", "SUCCESS", "PENDING"):
        callback(acme, status, run_uid=run_uid, to=to)
    callback(acme, to=to)
    answer = send(api, BULK, {"run_uid": str(run_uid), "status": "FAILED"})
    assert (answer.status_code, answer.json()) == (202, {"count": 2})
    shown = api.get(f"{LIST}?run_uid={run_uid}").json()
    assert [one["status"] for one in shown] == ["PENDING", "PENDING", "PENDING", "SUCCESS", "FAILED", "FAILED"]
    assert [one["parent_uid"] for one in shown[:2]] == [one["uid"] for one in shown[-2:]]
    assert send(api, BULK, {"run_uid": str(run_uid), "status": "FAILED"}).json() == {"count": 0}


def test_those_since_a_time(api: Api, acme: Member, other: Member) -> None:
    since = timezone.now() - timedelta(hours=1)
    for by, minutes in ((acme, -1), (acme, 1), (acme, 2), (other, 3)):
        callback(by, created_at=since + timedelta(minutes=minutes))
    body = {"created_after": rfc3339(since), "status": "FAILED", "run_uid": None}
    assert send(api, BULK, body).json() == {"count": 2}
    assert Callback.objects.of(other.workspace).count() == 1


def test_those_of_an_unknown_run_and_of_anothers_are_none(api: Api, other: Member) -> None:
    for run_uid in (UID, callback(other).run_uid):
        answer = send(api, BULK, {"run_uid": str(run_uid), "status": "FAILED"})
        assert (answer.status_code, answer.json()) == (202, {"count": 0})
    assert Callback.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "status"),
        ({"run_uid": UID}, "status"),
        ({"status": "FAILED"}, "run_uid"),
        ({"status": "FAILED", "run_uid": None}, "run_uid"),
        ({"status": "FAILED", "run_uid": UID, "created_after": "2026-01-31T08:00:00Z"}, "run_uid"),
        ({"status": "SUCCESS", "run_uid": UID}, "status"),
        ({"status": "failed", "run_uid": UID}, "status"),
        ({"status": ["FAILED"], "run_uid": UID}, "status"),
        ({"status": "FAILED", "run_uid": "x"}, "run_uid"),
        ({"status": "FAILED", "run_uid": 1}, "run_uid"),
        ({"status": "FAILED", "created_after": "yesterday"}, "created_after"),
        ({"status": "FAILED", "created_after": "2026-01-31T08:00:00"}, "created_after"),
        ({"status": "FAILED", "created_after": 0}, "created_after"),
        ({"status": "FAILED", "run_uid": UID, "created_before": "2026-01-31T08:00:00Z"}, "created_before"),
        ([], ""),
        (b"", "status"),
    ],
)
def test_a_bulk_that_cannot_be(api: Api, acme: Member, body: Any, field: str) -> None:
    callback(acme, run_uid=UID)
    answer = send(api, BULK, body)
    assert refused(answer, 400, "BAD_INPUT")["field"] == field
    assert field in answer.json()["message"]
    assert Callback.objects.count() == 1


# --- Who may --------------------------------------------------------------------------------------------------


def test_replaying_takes_the_scope_and_the_role_to_run(acme: Member) -> None:
    parent = callback(acme)
    calls = [(path_of(parent), {}), (BULK, {"run_uid": str(parent.run_uid), "status": "FAILED"})]
    _, ops = keys.make_key(acme.membership, role="OPS", scopes=["run"])
    for path, body in calls:
        for options in ({"role": "USER", "scopes": ["read", "run"]}, {"scopes": ["read", "manage"]}):
            _, unable = keys.make_key(acme.membership, **options)
            refused(send(Api(unable), path, body), 403, "NO_ACCESS")
        refused(send(Api(None), path, body), 401, "UNAUTHORIZED")
    assert Callback.objects.count() == 1
    assert send(Api(ops), *calls[1]).json() == {"count": 1}
    assert send(Api(ops), *calls[0]).status_code == 201


# --- Once for a key -------------------------------------------------------------------------------------------


def assert_same(again: Any, first: Any) -> None:
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers.get("Location") == first.headers.get("Location")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


def test_one_asked_for_twice_with_a_key_is_replayed_once(api: Api, acme: Member) -> None:
    parent = callback(acme)
    first = send(api, path_of(parent), key="k")
    Callback.objects.filter(uid=first.json()["uid"]).update(status="SUCCESS")
    assert_same(send(api, path_of(parent), key="k"), first)
    assert Callback.objects.count() == 2
    refused(send(api, path_of(parent), b"{}", key="k"), 422, "IDEMPOTENCY_MISMATCH")
    assert send(api, path_of(parent), key="other").json()["uid"] != first.json()["uid"]
    assert send(api, path_of(callback(acme)), key="k").status_code == 201, "a key is of one callback's replay"


def test_a_replay_of_what_was_deleted_since_answers_what_it_answered(api: Api, acme: Member) -> None:
    parent = callback(acme)
    first = send(api, path_of(parent), key="k")
    Callback.objects.all().delete()
    assert_same(send(api, path_of(parent), key="k"), first)
    assert Callback.objects.count() == 0


def test_a_bulk_asked_for_twice_with_a_key_is_done_once(api: Api, acme: Member) -> None:
    parent = callback(acme)
    body = {"run_uid": str(parent.run_uid), "status": "FAILED"}
    first = send(api, BULK, body, key="k")
    assert first.json() == {"count": 1}
    Callback.objects.update(status="FAILED")
    assert_same(send(api, BULK, body, key="k"), first)
    assert Callback.objects.count() == 2
    refused(send(api, BULK, {**body, "run_uid": UID}, key="k"), 422, "IDEMPOTENCY_MISMATCH")
    assert send(api, BULK, body, key="other").json() == {"count": 1}


def test_a_key_that_cannot_be(api: Api, acme: Member) -> None:
    refused(send(api, path_of(callback(acme)), key="a b"), 400, "BAD_INPUT")
    assert Callback.objects.count() == 1
