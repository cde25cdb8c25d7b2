"""The map: every path there is, and the contract's body for every path there is not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver

from tests.factories import Api, member

pytestmark = pytest.mark.django_db
UID = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"

PATHS = {
    "v1/actions",
    "v1/actions/<name:action_name>",
    "v1/actions/<name:action_name>/run/live",
    "v1/actions/<name:action_name>/live",
    "v1/actions/<name:action_name>/run/async",
    "v1/actions/<name:action_name>/async",
    "v1/runs",
    "v1/runs/<uid:run_uid>",
    "v1/runs/<uid:run_uid>/status",
    "v1/runs/<uid:run_uid>/inputs",
    "v1/runs/<uid:run_uid>/outputs",
    "v1/runs/<uid:run_uid>/timeline",
    "v1/runs/<uid:run_uid>/cancel",
    "v1/runs/<uid:run_uid>/resume",
    "v1/actions/<name:action_name>/run/schedule",
    "v1/actions/<name:action_name>/schedule",
    "v1/schedules",
    "v1/schedules/preview",
    "v1/schedules/<uid:schedule_uid>",
    "v1/schedules/<uid:schedule_uid>/pause",
    "v1/schedules/<uid:schedule_uid>/resume",
    "v1/schedules/<uid:schedule_uid>/cancel",
    "v1/schedules/<uid:schedule_uid>/trigger",
    "v1/schedules/<uid:schedule_uid>/preview",
    "v1/schedules/<uid:schedule_uid>/timeline",
    "v1/runs/callbacks",
    "v1/runs/callbacks/replay",
    "v1/runs/callbacks/<uid:callback_uid>",
    "v1/runs/callbacks/<uid:callback_uid>/replay",
    "v1/callback-receivers",
    "v1/callback-receivers/test",
    "v1/workspaces",
    "v1/workspaces/members",
    "v1/api-keys",
    "v1/api-keys/<uid:key_uid>",
    "v1/webhook-secret",
    "v1/webhook-secret/rotate",
    "v1/openapi.json",
    "docs",
    "healthz",
    "readyz",
    "metrics",
    "admin",
    "admin/",
}


def api() -> Api:
    return Api(member().key)


def told(answer: Any, status: int, label: str) -> None:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    body = answer.json()
    assert set(body) == {"message", "error_label", "error_scope", "status_code", "params", "error_ref"}
    assert (body["error_label"], body["status_code"], body["error_ref"]) == (
        label,
        status,
        answer.headers["X-Request-Id"],
    )


def test_the_contracts_paths_are_there() -> None:
    assert {str(pattern.pattern) for pattern in get_resolver().url_patterns} >= PATHS


def test_no_path_of_the_api_ends_in_a_slash() -> None:
    paths = [str(pattern.pattern) for pattern in get_resolver().url_patterns]
    assert not [path for path in paths if path.startswith("v1") and path.endswith("/")]


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/runs/", "/v1/nothing", f"/v1/runs/{UID}/", f"/v1/runs/{UID}/nothing", "/v1/runs/x/inputs",
     "/v1/%00", "/v1/runs%2F", "//v1/runs", "/v1/actions/a/b/c/async", "/v1/actions/x/run/now", "/v1/RUNS"],
)  # fmt: skip
def test_an_unknown_path(path: str) -> None:
    answer = api().get(path)
    if path.startswith("/v1"):
        told(answer, 404, "NOT_FOUND")
    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options", "trace"])
@pytest.mark.parametrize("path", ["/v1/runs", f"/v1/runs/{UID}/status", f"/v1/runs/{UID}/outputs", "/v1/actions"])
def test_a_wrong_method(path: str, method: str) -> None:
    answer = getattr(Client(headers={"X-API-Key": "any"}), method)(path)
    told(answer, 405, "METHOD_NOT_ALLOWED")
    assert re.findall(r"[A-Z]+", answer.headers["Allow"])[0] == "GET"


@pytest.mark.parametrize("verb", ["cancel", "resume"])
def test_what_moves_a_run_is_a_post(verb: str) -> None:
    answer = api().get(f"/v1/runs/{UID}/{verb}")
    told(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "POST"


def test_launching_is_a_post() -> None:
    answer = api().get("/v1/actions/inspect-url/async")
    told(answer, 405, "METHOD_NOT_ALLOWED")
    assert "POST" in answer.headers["Allow"]


def test_a_host_that_is_not_ours(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["here"]
    told(Client().get("/v1/runs", headers={"Host": "evil.test"}), 400, "BAD_INPUT")


def test_a_server_fault_is_json_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from runs.models import RunQuerySet

    def broken(*_: Any) -> None:
        raise RuntimeError("a secret of ours")

    mine = api()
    monkeypatch.setattr(RunQuerySet, "with_progress", broken)
    answer = mine.get("/v1/runs")
    told(answer, 500, "INTERNAL_ERROR")
    assert "secret" not in answer.content.decode()
    assert "Traceback" not in answer.content.decode()


def test_the_request_id_is_the_callers_where_it_is_well_formed() -> None:
    mine = api()
    for sent in ("a", "A.b_c-9", "x" * 64):
        assert mine.get("/v1/runs", **{"X-Request-Id": sent}).headers["X-Request-Id"] == sent
    for sent in ("x" * 65, "a b", "a/b", "é", ""):
        assert mine.get("/v1/runs", **{"X-Request-Id": sent}).headers["X-Request-Id"] != sent
    assert Client().get("/nowhere").headers["X-Request-Id"]


def test_the_admin_asks_for_a_sign_in() -> None:
    answer = Client().get("/admin/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/")
