"""Launches with a callback, over REST: what is refused, what is shown and told of it, and what is sent again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from actions import ActionDefinition, action, registry
from runs import callbacks
from runs.models import OutboxEntry, Run, RunCallback
from runs.serializers import read_async_body
from tests.factories import Api, work
from tests.staff import superuser
from tests.webhooks.receiver import Receiver, answer, verify
from tests.webhooks.refused import HEADERS, URLS
from webhooks.models import BodyPack, Callback, Destination
from webhooks.models import Receiver as ReceiverRow

pytestmark = pytest.mark.django_db

LAUNCH = "/v1/actions/double/async"
MARKER = "m4rk3r-0f-4-s3cr3t"


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> ActionDefinition:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @action("double")
    def double(input: dict[str, int]) -> dict[str, int]:
        return {"n": input["n"] * 2}

    return double


def launch(api: Api, count: int = 2, **callback: Any) -> Any:
    return api.post(LAUNCH, {"inputs": [{"n": n} for n in range(count)], "callback": callback})


def refused(told: Any) -> dict[str, Any]:
    assert (told.status_code, told.json()["error_label"]) == (400, "BAD_INPUT"), told.content
    stored = (Run, RunCallback, OutboxEntry, Destination, ReceiverRow, Callback)
    assert [model.objects.count() for model in stored] == [0] * len(stored)
    params: dict[str, Any] = told.json()["params"]
    return params


@pytest.mark.usefixtures("closed")
def test_urls_that_no_callback_may_have(api: Api) -> None:
    for name, url in URLS.items():
        assert refused(launch(api, url=url))["field"] == "callback.url", name


def test_headers_that_no_callback_may_have(api: Api) -> None:
    for name, value in HEADERS:
        told = refused(launch(api, url="https://8.8.8.8/", headers={name: value}))
        assert told["field"] == f"callback.headers.{name}", (name, value)


@pytest.mark.parametrize("place", ["statements.insertion.numbered_cursor", "webhooks.receivers.receiver_of"])
def test_a_defect_tells_no_header(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any, place: str
) -> None:
    caplog.set_level(logging.DEBUG)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect, deep inside")

    monkeypatch.setattr(place, broken)
    failed = launch(api, url="https://8.8.8.8/", headers={"Authorization": MARKER})
    assert failed.status_code == 500
    assert "deep inside" in caplog.text
    written = capfd.readouterr()
    for told in (failed.content.decode(), caplog.text, repr([r.__dict__ for r in caplog.records]), *written):
        assert MARKER not in told


def test_what_is_asked_for_prints_no_header(double: ActionDefinition) -> None:
    body = {"inputs": [{"n": 1}], "callback": {"url": "https://8.8.8.8/", "headers": {"A": MARKER}}}
    asked = read_async_body(body, now=timezone.now())
    assert MARKER not in f"{asked} {asked!r} {asked.callback!r}"


def test_a_run_shows_its_callback_without_headers_and_so_does_the_admin(api: Api) -> None:
    run = launch(api, url="https://8.8.8.8/in?a=b", headers={"Authorization": MARKER}).json()
    shown = api.get(f"/v1/runs/{run['run_uid']}")
    assert shown.json()["callback"] == {"url": "https://8.8.8.8/in?a=b", "on": "all", "per": "input"}
    root = superuser()
    paths = [f"/admin/runs/run/{run['run_id']}/change/", "/admin/runs/run/", "/admin/webhooks/receiver/"]
    for told in (shown, api.get("/v1/runs"), *[root.get(path) for path in paths]):
        assert told.status_code == 200
        assert MARKER not in told.content.decode()


@pytest.mark.usefixtures("reachable")
@pytest.mark.django_db(transaction=True)
def test_what_failed_is_sent_again_as_it_was(api: Api, sending: Callable[..., Any], settings: Any) -> None:
    settings.RUNYARD_CALLBACK_RETRY_SCALE = 1e-6
    with Receiver(answer(410)) as receiver:
        launched = launch(api, 3, url=receiver.url("/in"), headers={"X-Key": MARKER})
        assert launched.status_code == 202, launched.content
        run = launched.json()
        work()
        while callbacks.announce():
            pass
        sending(lambda: Callback.objects.filter(status="FAILED").count() == 4)
        before = {one["callback_ref_uid"]: one for one in receiver.bodies()}
        assert len(before) == 4
        receiver.act = answer(200)
        receiver.received.clear()
        (first, *_) = api.get(f"/v1/runs/callbacks?run_uid={run['run_uid']}&sort=created_at").json()
        assert api.post(f"/v1/runs/callbacks/{first['uid']}/replay", {}).status_code == 201
        bulk = api.post("/v1/runs/callbacks/replay", {"run_uid": run["run_uid"], "status": "FAILED"})
        assert bulk.json() == {"count": 3, "remaining": 0}, "the one that is being replayed is not doubled"
        sending(lambda: Callback.objects.filter(status="SUCCESS").count() == 4)
        assert {one["callback_ref_uid"]: one for one in receiver.bodies()} == before
        secret = api.get("/v1/webhook-secret").json()["secret"]
        for received in receiver.received:
            verify(received, secret)
            assert received.header("x-key") == MARKER
            assert received.header("webhook-id") == json.loads(received.body)["callback_ref_uid"]
    assert Callback.objects.count() == 8
    assert api.client.delete(f"/v1/runs/{run['run_uid']}").status_code == 204
    assert (Callback.objects.count(), BodyPack.objects.count()) == (0, 0)
