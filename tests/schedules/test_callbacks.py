"""Schedules whose runs call back: `callback` as in an async launch, with a copy for each run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actions import ActionDefinition
from runs.models import OutboxEntry, Run, RunCallback
from schedules.models import Schedule
from tests.factories import Api, numbers, work
from webhooks.models import Destination

pytestmark = pytest.mark.django_db

URL = "https://203.0.114.7/hook"
CALLBACK = {"url": URL, "headers": {"X-Token": "secret"}, "on": "final", "per": "batch"}


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


def make(api: Api, **body: Any) -> Any:
    return api.post("/v1/actions/double/schedule", {"inputs": numbers(2), "cron": "@yearly", **body})


def patch(api: Api, uid: str, **body: Any) -> Any:
    return api.client.patch(f"/v1/schedules/{uid}", data=json.dumps(body), content_type="application/json")


def test_it_is_kept_and_shown_without_its_headers(api: Api) -> None:
    uid = make(api, callback=CALLBACK).json()["schedule_uid"]
    answer = api.get(f"/v1/schedules/{uid}")
    assert answer.json()["callback"] == {"url": URL, "on": "final", "per": "batch"}
    assert "secret" not in answer.content.decode() + api.get("/v1/schedules").content.decode()
    destination = Destination.objects.get()
    assert (destination.url, destination.headers) == (URL, [["X-Token", "secret"]])
    assert Schedule.objects.get().destination == destination


def test_what_is_not_said_of_it(api: Api) -> None:
    uid = make(api, callback={"url": URL, "on": None}).json()["schedule_uid"]
    assert api.get(f"/v1/schedules/{uid}").json()["callback"] == {"url": URL, "on": "all", "per": "input"}
    uid = make(api, callback=None).json()["schedule_uid"]
    assert api.get(f"/v1/schedules/{uid}").json()["callback"] is None


@pytest.mark.parametrize(
    ("callback", "field"),
    [
        ({"url": "http://203.0.114.7/"}, "callback.url"),
        ({"url": "https://127.0.0.1/"}, "callback.url"),
        ({"url": URL, "headers": {"Host": "a"}}, "callback.headers.Host"),
        ({"url": URL, "retries": 3}, "callback.retries"),
        ({"url": URL, "on": "never"}, "callback.on"),
        ({}, "callback.url"),
    ],
)
def test_one_that_cannot_be(api: Api, callback: dict[str, Any], field: str) -> None:
    answer = make(api, callback=callback)
    assert (answer.status_code, answer.json()["error_label"]) == (400, "BAD_INPUT")
    assert answer.json()["params"]["field"] == field
    uid = make(api, callback=CALLBACK).json()["schedule_uid"]
    answer = patch(api, uid, name="new", callback=callback)
    assert (answer.status_code, answer.json()["params"]["field"]) == (400, field)
    assert Schedule.objects.get().name == ""
    assert Destination.objects.get().url == URL


def test_each_run_has_a_copy_that_goes_with_it(api: Api) -> None:
    uid = make(api, callback=CALLBACK).json()["schedule_uid"]
    first, second = (api.post(f"/v1/schedules/{uid}/trigger", {}).json()["run_uid"] for _ in range(2))
    callbacks = {str(one.run.uid): one for one in RunCallback.objects.select_related("run", "destination")}
    assert set(callbacks) == {first, second}
    assert Destination.objects.count() == 3
    for one in callbacks.values():
        assert (one.on, one.per, one.destination.headers) == ("final", "batch", [["X-Token", "secret"]])
    assert api.get(f"/v1/runs/{first}").json()["callback"] == {"url": URL, "on": "final", "per": "batch"}
    for run in (first, second):
        api.post(f"/v1/runs/{run}/cancel", {})
    assert api.client.delete(f"/v1/runs/{first}").status_code == 204
    assert set(Destination.objects.values_list("pk", flat=True)) == {
        Schedule.objects.get().destination_id, callbacks[second].destination_id,
    }  # fmt: skip
    assert api.client.delete(f"/v1/schedules/{uid}").status_code == 204
    assert list(Destination.objects.all()) == [callbacks[second].destination]
    assert RunCallback.objects.get().run == Run.objects.get()


def test_it_is_changed_and_taken_away(api: Api) -> None:
    uid = make(api).json()["schedule_uid"]
    shown = patch(api, uid, callback=CALLBACK).json()
    assert shown["callback"] == {"url": URL, "on": "final", "per": "batch"}
    run = api.post(f"/v1/schedules/{uid}/trigger", {}).json()["run_uid"]
    shown = patch(api, uid, callback={"url": URL + "/2"}).json()
    assert shown["callback"] == {"url": URL + "/2", "on": "all", "per": "input"}
    assert api.get(f"/v1/runs/{run}").json()["callback"]["url"] == URL
    updated_at = patch(api, uid, callback=None).json()["updated_at"]
    kept = Schedule.objects.get()
    assert (kept.destination, kept.callback_on, kept.callback_per) == (None, "", "")
    assert list(Destination.objects.all()) == [RunCallback.objects.get().destination]
    assert patch(api, uid, callback=None).json()["updated_at"] == updated_at


def test_a_run_calls_back_what_is_invalid_from_the_start(api: Api) -> None:
    uid = make(api, callback={"url": URL}, inputs=[{"n": 1}, {"n": "x"}]).json()["schedule_uid"]
    api.post(f"/v1/schedules/{uid}/trigger", {})
    (entry,) = OutboxEntry.objects.all()
    assert (entry.run, entry.input_chunk is not None, entry.status) == (Run.objects.get(), True, "")
    work()
    assert OutboxEntry.objects.latest("id").status == "PARTIAL_SUCCEEDED"
