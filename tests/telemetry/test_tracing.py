"""A caller's traceparent, with tracing off: from the launch to the run and its callbacks. With it on: tests/system."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from runs import callbacks
from runs.models import Run
from telemetry import tracing
from tests.factories import Api, work
from tests.runs.conftest import actions_of_the_test, double  # noqa: F401
from webhooks import trial

BODY = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SENT = f"00-{BODY}"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (SENT, SENT),
        (f"01-{BODY}", SENT),
        (f"01-{BODY}-more", SENT),
        (f"00-{BODY}-more", ""),
        (f"01-{BODY}more", ""),
        (f"ff-{BODY}", ""),
        (SENT.upper(), ""),
        (SENT[:-1], ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", ""),
        (f" {SENT}", ""),
        (f"{SENT}\n", ""),
        ("", ""),
    ],
)
def test_what_is_a_traceparent(sent: str, kept: str) -> None:
    assert tracing.well_formed(sent) == kept


def launch(key: str, headers: dict[str, str], path: str = "async", **body: Any) -> Run:
    callback = {"url": "https://8.8.8.8/in", "headers": {"X-Mine": "1", **body.pop("callback_headers", {})}}
    answer = Api(key, **headers).post(
        f"/v1/actions/double/{path}", {"inputs": [{"n": 1}], "callback": callback, **body}
    )
    assert answer.status_code in (201, 202), answer.content
    if path == "schedule":
        answer = Api(key, **headers).post(f"/v1/schedules/{answer.json()['schedule_uid']}/trigger", {})
    return Run.objects.select_related("callback__destination").get(uid=answer.json()["run_uid"])


@pytest.mark.django_db
@pytest.mark.usefixtures("double")
class TestARun:
    @pytest.mark.parametrize(
        "more", [{"path": "async"}, {"path": "schedule", "cron": "@yearly"}], ids=["async", "by hand"]
    )
    def test_keeps_what_its_request_sent_and_its_callbacks_carry_it(self, acme: Any, more: dict[str, Any]) -> None:
        run = launch(acme.key, {"traceparent": SENT}, **more)
        assert run.traceparent == SENT
        assert run.callback.destination.headers == [["X-Mine", "1"], ["traceparent", SENT]]

    @pytest.mark.parametrize("headers", [{}, {"traceparent": "mine"}], ids=["none", "malformed"])
    def test_keeps_nothing_where_nothing_was_sent(self, acme: Any, headers: dict[str, str]) -> None:
        run = launch(acme.key, headers)
        assert (run.traceparent, run.callback.destination.headers) == ("", [["X-Mine", "1"]])

    def test_leaves_a_header_alone_that_the_launch_asked_for(self, acme: Any) -> None:
        run = launch(acme.key, {"traceparent": SENT}, callback_headers={"Traceparent": "its own"})
        assert run.callback.destination.headers == [["X-Mine", "1"], ["Traceparent", "its own"]]

    def test_has_room_for_it_beside_as_many_headers_as_there_may_be(self, acme: Any, monkeypatch: Any) -> None:
        run = launch(acme.key, {"traceparent": SENT}, callback_headers={f"X-{n}": "1" for n in range(19)})
        assert len(run.callback.destination.headers) == 21
        sent: list[Any] = []
        monkeypatch.setattr(trial, "send", lambda checked, *_, **__: sent.append(checked))
        trial.send_to(run.callback.destination.receiver, now=run.created_at)
        assert len(sent[0].headers) == 20

    def test_is_executed_and_told_as_any_other(self, acme: Any) -> None:
        run = launch(acme.key, {"traceparent": SENT})
        work()
        while callbacks.announce():
            pass
        assert Run.objects.get(pk=run.pk).status == "SUCCEEDED"


def test_nothing_of_opentelemetry_is_loaded_unless_it_is_asked_for() -> None:
    code = """
import sys
from telemetry import tracing
tracing.start()
with tracing.span("a", "client") as span:
    assert span is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"
