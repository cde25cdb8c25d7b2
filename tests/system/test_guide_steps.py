"""The rest of the hosted guide's steps, in literal requests too: callbacks, cancel and resume, schedules and pause."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.system.guide import (
    CALLBACK,
    CALLBACK_OURS,
    CALLED_BACK,
    LAUNCHED,
    LAUNCHED_OURS,
    RUN,
    RUN_CALLED_BACK,
    RUN_OURS,
    SCHEDULE,
    SCHEDULE_OURS,
    SCHEDULED,
    SCHEDULED_OURS,
    Guide,
    assert_error,
    assert_is,
)
from tests.system.installation import until
from tests.system.receiver import Receiver

pytestmark = pytest.mark.usefixtures("shared")
SLOW = 60
SLOW_INPUTS = ", ".join(f'{{"number": {n}, "seconds": 0.05, "custom_data": {{"row": {n}}}}}' for n in range(SLOW))


@pytest.fixture
def receiver(guide: Guide) -> Iterator[Receiver]:
    """The client's own service. It refuses what is signed wrongly, which the hosted guide does not ask of it."""
    secret = guide.get("/v1/webhook-secret").json()["secret"]
    with Receiver(secret=secret) as receiver:
        yield receiver
    assert receiver.wrong == []


def wait_for_end_at(receiver: Receiver, run_uid: str, *, callbacks: int) -> list[dict[str, Any]]:
    """Return what came, when so many callbacks have, one of them the end."""

    def have_come() -> bool:
        arrived = receiver.arrivals(run_uid)
        return len(arrived) >= callbacks and any(one.is_final for one in arrived)

    until(have_come, lambda: f"{receiver.arrivals(run_uid)}")
    bodies = [one.body for one in receiver.arrivals(run_uid)]
    for body in bodies:
        assert_is(body, CALLED_BACK)
        assert_is(body["run"], RUN_CALLED_BACK)
        assert body["run"]["run_uid"] == run_uid
    assert len(bodies) == callbacks
    return bodies


def launch(guide: Guide, action: str, body: str) -> str:
    launched = guide.post(f"/v1/actions/{action}/run/async", body)
    assert launched.status_code == 202, launched.text
    assert_is(launched.json(), LAUNCHED, LAUNCHED_OURS)
    return str(launched.json()["run_uid"])


# --- Callbacks


def test_launch_with_a_callback_poll_page_and_match(guide: Guide, receiver: Receiver) -> None:
    run_uid = launch(
        guide,
        "count-to",
        """
        {
          "inputs": [
            {"number": 120, "custom_data": {"crm_id": "A-1", "nested": {"row": 1}}},
            {"number": 2},
            {"number": "three", "custom_data": {"crm_id": "A-3"}}
          ],
          "parameters": {},
          "callback": {"url": "https://hooks.example.com/", "headers": {"X-Customer": "42"}}
        }
        """.replace("https://hooks.example.com/", receiver.url),
    )
    assert guide.wait(run_uid) == "PARTIAL_SUCCEEDED"
    pages = guide.pages(f"/v1/runs/{run_uid}/outputs")
    assert [len(page) for page in pages] == [100, 22]
    outputs = [{"number": number} for number in (*range(1, 121), 1, 2)]
    assert pages == [outputs[:100], outputs[100:]]

    bodies = wait_for_end_at(receiver, run_uid, callbacks=4)
    assert {one.headers["x-customer"] for one in receiver.arrivals(run_uid)} == {"42"}
    told = {
        str(body["input"]): (body["custom_data"], body["results"], body["error"] and body["error"]["label"])
        for body in bodies
    }
    assert told == {
        "{'number': 120}": ({"crm_id": "A-1", "nested": {"row": 1}}, outputs[:120], None),
        "{'number': 2}": (None, outputs[120:], None),
        "{'number': 'three'}": ({"crm_id": "A-3"}, [], "BAD_INPUT"),
        "None": (None, [], None),
    }
    statuses = {str(body["input"]): body["run"]["status"] for body in bodies}
    assert statuses.pop("None") == "PARTIAL_SUCCEEDED"
    assert set(statuses.values()) == {"RUNNING"}


def test_a_callback_for_the_end_alone_then_fetch(guide: Guide, receiver: Receiver) -> None:
    body = '{"inputs": [{"number": 3}, {"number": 4}], "callback": {"url": "%s", "on": "final"}}'
    run_uid = launch(guide, "square", body % receiver.url)
    (end,) = wait_for_end_at(receiver, run_uid, callbacks=1)
    assert (end["run"]["status"], end["run"]["batch_uid"], end["results"]) == ("SUCCEEDED", None, [])
    assert guide.pages(f"/v1/runs/{run_uid}/outputs") == [[{"number": 3, "square": 9}, {"number": 4, "square": 16}]]
    callback = guide.get(f"/v1/runs/{run_uid}").json()["callback"]
    assert (callback["url"], callback["on"]) == (receiver.url, "final")

    until(lambda: bool(guide.get(f"/v1/runs/callbacks?run_uid={run_uid}&status=SUCCESS").json()), lambda: run_uid)
    (listed,) = guide.get(f"/v1/runs/callbacks?run_uid={run_uid}&limit=10&offset=0").json()
    assert_is(listed, CALLBACK, CALLBACK_OURS)
    assert (listed["callback_url"], listed["http_status"], listed["error"]) == (receiver.url, 200, None)
    assert guide.get(f"/v1/runs/callbacks/{listed['uid']}").json() == listed

    replayed = guide.post(f"/v1/runs/callbacks/{listed['uid']}/replay")
    assert replayed.status_code == 201, replayed.text
    assert_is(replayed.json(), CALLBACK, CALLBACK_OURS)
    assert replayed.json()["parent_uid"] == listed["uid"]
    until(lambda: receiver.doubles == 1, lambda: f"{receiver.requests} requests")  # the same one, to the byte
    assert len(receiver.arrivals(run_uid)) == 1


def test_a_callback_that_is_refused(guide: Guide) -> None:
    body = '{"inputs": [{"number": 3}], "callback": {"url": "ftp://hooks.example.com/"}}'
    error = assert_error(guide.post("/v1/actions/square/run/async", body), 400, "BAD_INPUT", "input")
    assert error["params"]["field"] == "callback.url"


# --- Cancel and resume


def test_cancel_in_the_middle_and_resume(guide: Guide, receiver: Receiver) -> None:
    body = f'{{"inputs": [{SLOW_INPUTS}], "parameters": {{}}, "callback": {{"url": "{receiver.url}"}}}}'
    run_uid = launch(guide, "square-slowly", body)
    until(lambda: guide.get(f"/v1/runs/{run_uid}").json()["output_count"] > 0, lambda: run_uid)

    cancelled = guide.post(f"/v1/runs/{run_uid}/cancel")
    assert cancelled.status_code == 200, cancelled.text
    stopped = cancelled.json()
    assert_is(stopped, RUN, RUN_OURS)
    assert (stopped["status"], stopped["last_error"]) == ("STOPPED", None)
    assert 0 < stopped["output_count"] < SLOW
    assert guide.wait(run_uid) == "STOPPED"
    again = guide.post(f"/v1/runs/{run_uid}/cancel")
    assert (again.status_code, again.json()) == (200, stopped)
    assert sum(len(page) for page in guide.pages(f"/v1/runs/{run_uid}/outputs")) == stopped["output_count"]
    inputs = [one for page in guide.pages(f"/v1/runs/{run_uid}/inputs?limit=50") for one in page]
    assert {one["status"] for one in inputs} == {"SUCCEEDED", "STOPPED"}

    resumed = guide.post(f"/v1/runs/{run_uid}/resume", '{"action": "resume"}')
    assert resumed.status_code == 200, resumed.text
    assert_is(resumed.json(), RUN, RUN_OURS)
    assert [resumed.json()[name] for name in ("status", "retry_count", "last_error", "postponed_until")] == [
        "SCHEDULED", 0, None, None
    ]  # fmt: skip
    assert resumed.json()["output_count"] == stopped["output_count"]
    assert guide.wait(run_uid) == "SUCCEEDED"
    squares = [{"number": n, "square": n * n} for n in range(SLOW)]
    assert guide.pages(f"/v1/runs/{run_uid}/outputs") == [squares]

    bodies = wait_for_end_at(receiver, run_uid, callbacks=SLOW + 1)  # none for the cancel, each result once
    told = {body["custom_data"]["row"]: body["results"] for body in bodies if body["custom_data"]}
    assert [told[n] for n in range(SLOW)] == [[square] for square in squares]
    assert [body["run"]["status"] for body in bodies if not body["custom_data"]] == ["SUCCEEDED"]


@pytest.mark.parametrize("verb", ["cancel", "resume"])
def test_what_has_succeeded_is_neither_cancelled_nor_resumed(guide: Guide, verb: str) -> None:
    run_uid = launch(guide, "square", '{"inputs": [{"number": 1}]}')
    guide.wait(run_uid)
    error = assert_error(guide.post(f"/v1/runs/{run_uid}/{verb}"), 409, "CONFLICT", "run")
    assert error["params"]["status"] == "SUCCEEDED"


def test_resume_runs_what_failed_again(guide: Guide) -> None:
    run_uid = launch(guide, "refuse-odd", '{"inputs": [{"number": 2}, {"number": 3}]}')
    assert guide.wait(run_uid) == "PARTIAL_SUCCEEDED"
    assert guide.post(f"/v1/runs/{run_uid}/resume").json()["status"] == "SCHEDULED"
    assert guide.wait(run_uid) == "PARTIAL_SUCCEEDED"
    assert guide.pages(f"/v1/runs/{run_uid}/outputs") == [[{"number": 2, "square": 4}]]


# --- Schedules


def schedule(guide: Guide, body: str) -> str:
    made = guide.post("/v1/actions/square/run/schedule", body)
    assert made.status_code == 201, made.text
    assert_is(made.json(), SCHEDULED, SCHEDULED_OURS)
    assert made.json()["next_execution_at"] > made.json()["created_at"]
    return str(made.json()["schedule_uid"])


def test_schedule_by_cron_pause_resume_and_cancel(guide: Guide) -> None:
    uid = schedule(
        guide,
        """
        {
          "name": "Weekday mornings", "cron": "0 9 * * MON-FRI", "timezone": "Europe/Paris",
          "inputs": [{"number": 7, "custom_data": {"row": 1}}], "parameters": {}
        }
        """,
    )
    for verb, status in (("pause", "PAUSED"), ("resume", "ACTIVE"), ("cancel", "CANCELLED")):
        changed = guide.post(f"/v1/schedules/{uid}/{verb}")
        assert changed.status_code == 200, changed.text
        assert_is(changed.json(), SCHEDULE, SCHEDULE_OURS)
        assert (changed.json()["status"], changed.json()["cron"]) == (status, "0 9 * * MON-FRI")
        assert guide.get(f"/v1/schedules/{uid}").json() == changed.json()
        assert changed.json() in guide.get("/v1/schedules?limit=100&offset=0").json()
    assert_error(guide.post(f"/v1/schedules/{uid}/resume"), 409, "CONFLICT", "run")


def test_a_schedule_fires_and_a_paused_one_does_not(guide: Guide, receiver: Receiver) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
    body = """
        {
          "name": "%s", "schedule_at": "%s", "callback": {"url": "%s"},
          "inputs": [{"number": 7, "custom_data": {"row": 1}}], "parameters": {}
        }
        """
    paused = schedule(guide, body % ("Paused", at, receiver.url))
    assert guide.post(f"/v1/schedules/{paused}/pause").json()["status"] == "PAUSED"
    fires = schedule(guide, body % ("Once", at, receiver.url))

    def fired() -> list[dict[str, Any]]:
        return [run for run in guide.get("/v1/runs?sort=-created_at&limit=20").json() if run["scheduled_run_uid"]]

    until(lambda: bool(fired()), lambda: guide.get(f"/v1/schedules/{fires}").text)
    (run,) = fired()  # both were due, and are claimed together
    assert_is(run, RUN, RUN_OURS)
    assert (run["scheduled_run_uid"], run["scheduled_run_name"], run["execution_mode"]) == (fires, "Once", "ASYNC")
    assert guide.wait(run["uid"]) == "SUCCEEDED"
    assert guide.pages(f"/v1/runs/{run['uid']}/outputs") == [[{"number": 7, "square": 49}]]
    result, _ = sorted(wait_for_end_at(receiver, run["uid"], callbacks=2), key=lambda one: one["input"] is None)
    assert (result["custom_data"], result["results"]) == ({"row": 1}, [{"number": 7, "square": 49}])

    schedules = {one["uid"]: one for one in guide.get("/v1/schedules").json()}
    assert [schedules[uid]["status"] for uid in (fires, paused)] == ["COMPLETED", "PAUSED"]
    assert schedules[fires]["last_execution_at"] >= at[:19]
    assert schedules[paused]["last_execution_at"] is None
