"""Asking for callbacks at a launch: what is taken, refused by name, stored, and shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actions import ActionDefinition
from runs.models import OutboxEntry, Run, RunCallback
from tests.factories import Api, Member, launch, numbers
from tests.runs.called_back import URL, asked
from webhooks.models import Destination, Receiver

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback_receivers")]
PATH = "/v1/actions/double/async"


@pytest.mark.parametrize(
    ("callback", "shown"),
    [
        ({"url": URL}, {"url": URL, "on": "all", "per": "input"}),
        ({"url": URL, "on": "final"}, {"url": URL, "on": "final", "per": "input"}),
        ({"url": URL, "per": "batch", "headers": {}}, {"url": URL, "on": "all", "per": "batch"}),
        ({"url": URL, "on": None, "per": None, "headers": None}, {"url": URL, "on": "all", "per": "input"}),
        (None, None),
    ],
)
def test_what_is_asked_for_is_shown(api: Api, double: ActionDefinition, callback: Any, shown: Any) -> None:
    answer = api.post(PATH, {"inputs": numbers(2), "callback": callback})
    assert answer.status_code == 202
    assert api.get(answer.headers["Location"]).json()["callback"] == shown
    assert [run["callback"] for run in api.get("/v1/runs").json()] == [shown]


def test_headers_are_kept_in_order_and_shown_to_nobody(api: Api, double: ActionDefinition) -> None:
    headers = {"X-Second": "2", "Authorization": "Bearer s3cret", "X-First": "1"}
    answer = api.post(PATH, {"inputs": numbers(2), "callback": {"url": URL, "headers": headers}})
    assert answer.status_code == 202
    assert Destination.objects.get().headers == [list(pair) for pair in headers.items()]
    run = answer.headers["Location"]
    told = [answer.content, *(api.get(path).content for path in (run, f"{run}/timeline", "/v1/runs"))]
    told.append(api.post(f"{run}/cancel", {}).content)
    assert not any(b"s3cret" in one or b"Authorization" in one for one in told)


REFUSED: list[tuple[Any, str, str]] = [
    ("https://a.test", "callback", "must be a JSON object"),
    ([], "callback", "must be a JSON object"),
    (True, "callback", "must be a JSON object"),
    ({}, "callback.url", "required"),
    ({"url": None}, "callback.url", "required"),
    ({"url": 7}, "callback.url", "string"),
    ({"url": [URL]}, "callback.url", "string"),
    ({"url": URL, "headers": []}, "callback.headers", "must be a JSON object"),
    ({"url": URL, "headers": {"X-A": 1}}, "callback.headers.X-A", "string"),
    ({"url": URL, "headers": {"X-A": None}}, "callback.headers.X-A", "string"),
    ({"url": URL, "on": "ALL"}, "callback.on", "'final'"),
    ({"url": URL, "on": ["all"]}, "callback.on", "'final'"),
    ({"url": URL, "per": "run"}, "callback.per", "'batch'"),
    ({"url": URL, "method": "GET"}, "callback.method", "is not a field of a callback"),
    ({"url": URL, "method": None}, "callback.method", "is not a field of a callback"),
    ({"url": "ftp://127.0.0.1/x"}, "callback.url", "ftp"),
    ({"url": "http://169.254.169.254/"}, "callback.url", "169.254.169.254"),
    ({"url": URL, "headers": {"Host": "a.test"}}, "callback.headers.Host", "Host"),
]


@pytest.mark.parametrize(("callback", "field", "reason"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_does_not_fit_is_refused_by_name(
    api: Api, double: ActionDefinition, callback: Any, field: str, reason: str
) -> None:
    answer = api.post(PATH, {"inputs": numbers(1), "callback": callback})
    error = answer.json()
    assert (answer.status_code, error["error_label"], error["params"]["field"]) == (400, "BAD_INPUT", field)
    assert reason in error["message"]
    for model in (Run, RunCallback, Destination, Receiver):
        assert not model.objects.exists()  # type: ignore[attr-defined]


def test_the_value_of_a_refused_header_is_told_to_nobody(api: Api, double: ActionDefinition, caplog: Any) -> None:
    for value in ("s3cret\r\nX: 1", ["s3cret"], {"s3cret": 1}):
        answer = api.post(PATH, {"inputs": numbers(1), "callback": {"url": URL, "headers": {"X-A": value}}})
        assert answer.status_code == 400
        assert b"s3cret" not in answer.content
    assert "s3cret" not in caplog.text


def test_a_live_call_takes_none(api: Api, double: ActionDefinition) -> None:
    answer = api.post("/v1/actions/double/live", {"input": {"n": 1}, "callback": {"url": URL}})
    assert (answer.status_code, answer.json()["params"]["field"]) == (400, "callback")
    assert "belongs to async" in answer.json()["message"]


def test_runs_to_one_origin_share_their_receiver_and_nothing_else(acme: Member, double: ActionDefinition) -> None:
    first, second = (launch("double", numbers(1), by=acme, callback=asked(on=on)) for on in ("all", "final"))
    launch("double", numbers(1), by=acme)
    assert Receiver.objects.count() == 1
    assert Destination.objects.count() == 2
    assert dict(RunCallback.objects.values_list("run", "on")) == {first.pk: "all", second.pk: "final"}
    assert not OutboxEntry.objects.exists()


def test_a_launch_that_is_repeated_looks_its_callback_up_no_more(
    acme: Member, double: ActionDefinition, settings: Any
) -> None:
    """The first answer comes before the destination is checked, which would ask for its name again."""
    api = Api(acme.key, **{"Idempotency-Key": "once"})
    body = json.dumps({"inputs": numbers(1), "callback": {"url": URL}}).encode()
    first = api.post(PATH, body)
    settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = False
    again = api.post(PATH, body)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert api.client.post(PATH, data=body, content_type="application/json", headers={"Idempotency-Key": "2"}).json()[
        "params"
    ] == {"field": "callback.url"}
    assert (Run.objects.count(), Destination.objects.count()) == (1, 1)
