"""What an operator sees of a run of each mode: in logs, metrics and traces of real processes, and no secret in any."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.system.callbacks import secret_of, wait_for_callbacks
from tests.system.collector import Collector
from tests.system.installation import PATIENCE_S, Installation, until
from tests.system.receiver import Arrival, Receiver

SECRET_HEADER = "m4rk3r-0f-4-s3cr3t"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
REQUEST_IDS = {mode: f"watched-{mode}" for mode in ("live", "async", "schedule")}


@dataclass
class Watched:
    """Runs by the mode they were launched in, and what the installation said before and meanwhile."""

    installation: Installation
    receiver: Receiver
    secret: str
    runs: dict[str, str]
    before: dict[tuple[str, ...], float]

    @property
    def arrivals(self) -> list[Arrival]:
        return [one for run_uid in self.runs.values() for one in self.receiver.arrivals(run_uid)]

    def log_lines(self) -> list[dict[str, Any]]:
        texts = [self.installation.log(name).read_text() for name in self.installation.names]
        return [json.loads(line) for text in texts for line in text.splitlines() if line.startswith("{")]

    def risen(self, *key: str) -> float:
        return samples(self.installation).get(key, 0.0) - self.before.get(key, 0.0)  # none until a process tells


def samples(installation: Installation) -> dict[tuple[str, ...], float]:
    """Every sample of `/metrics`, by its name and its labels' values."""
    answer = installation.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


@pytest.fixture(scope="module")
def done() -> dict[str, Watched]:
    return {}


@pytest.fixture
def watched(narrow: Installation, done: dict[str, Watched]) -> Watched:
    """A run of each mode, with callbacks to a receiver that takes them; made once."""
    if "watched" not in done:
        done["watched"] = _watch(narrow)
    return done["watched"]


def _watch(installation: Installation) -> Watched:
    client = installation.client
    secret = secret_of(installation)
    before = samples(installation)
    runs: dict[str, str] = {}
    with Receiver(secret=secret) as receiver:
        headers = {mode: {"X-Request-Id": ref, "traceparent": TRACEPARENT} for mode, ref in REQUEST_IDS.items()}
        callback = {"url": receiver.url, "headers": {"Authorization": SECRET_HEADER}}
        inputs = {"inputs": [{"number": 3}, {"number": 4}], "callback": callback}
        live = client.post("/v1/actions/refuse-odd/live", json={"input": {"number": 3}}, headers=headers["live"])
        runs["live"] = live.headers["X-Run-Uid"]
        launched = client.post("/v1/actions/refuse-odd/async", json=inputs, headers=headers["async"])
        runs["async"] = launched.json()["run_uid"]
        made = client.post("/v1/actions/refuse-odd/schedule", json={**inputs, "cron": "0 0 1 1 *"})
        uid = made.json()["schedule_uid"]
        fired = client.post(f"/v1/schedules/{uid}/trigger", headers=headers["schedule"])
        runs["schedule"] = fired.json()["run_uid"]
        for run_uid in runs.values():
            installation.wait_for_end(run_uid)
        for mode in ("async", "schedule"):
            wait_for_callbacks(installation, receiver, runs[mode], PATIENCE_S)
        client.request("DELETE", f"/v1/schedules/{uid}")
    found = Watched(installation, receiver, secret, runs, before)
    until(lambda: found.risen("runyard_callback_delivery_seconds_count") >= 6, installation.logs)
    return found


def test_no_secret_is_in_any_line(watched: Watched) -> None:
    text = "\n".join(watched.installation.log(name).read_text() for name in watched.installation.names)
    assert REQUEST_IDS["async"] in text
    for secret in (watched.installation.key, watched.secret.removeprefix("whsec_"), SECRET_HEADER):
        assert secret not in text
    assert {one.headers["authorization"] for one in watched.arrivals} == {SECRET_HEADER}


def test_from_the_request_to_the_run_to_its_batch(watched: Watched) -> None:
    lines = watched.log_lines()
    for mode in ("live", "async"):
        (launched,) = (line for line in lines if line.get("request_id") == REQUEST_IDS[mode] and "run_uid" in line)
        assert (launched["event"], launched["run_uid"]) == ("run_launched", watched.runs[mode])
        assert launched["trace_id"] == TRACE
    for run_uid in watched.runs.values():
        failed = [line for line in lines if line.get("run_uid") == run_uid and line["event"] == "input_failed"]
        assert failed
        for line in failed:
            assert re.fullmatch(r"[0-9a-f-]{36}", line["batch_uid"])
            assert line["trace_id"] == TRACE


def test_what_was_counted(watched: Watched) -> None:
    expected = {
        ("runyard_inputs_total", "refuse-odd", "succeeded"): 2,
        ("runyard_inputs_total", "refuse-odd", "failed"): 3,
        ("runyard_run_transitions_total", "refuse-odd", "LIVE", "FAILED"): 1,
        ("runyard_run_transitions_total", "refuse-odd", "ASYNC", "PARTIAL_SUCCEEDED"): 2,
        ("runyard_run_transitions_total", "refuse-odd", "ASYNC", "CREATED"): 2,
        ("runyard_callback_attempt_seconds_count", "success"): 6,
        ("runyard_callback_delivery_seconds_count",): 6,
        ("runyard_schedule_fires_total", "TRIGGERED"): 1,
    }
    until(
        lambda: {key: watched.risen(*key) for key in expected} == expected, lambda: str(samples(watched.installation))
    )
    assert watched.risen("runyard_checkpoint_seconds_count") >= 3
    until(lambda: watched.risen("runyard_sweep_seconds_count") >= 1, watched.installation.logs)
    now = samples(watched.installation)
    assert (now["runyard_live_slots",], now["runyard_live_slots_taken",]) == (1, 0)
    assert now["runyard_broker_up",] == 1
    assert {role: now["runyard_processes", role] for role in ("live", "runs", "webhooks", "system", "beat")} == {
        "live": 1, "runs": 1, "webhooks": 1, "system": 1, "beat": 1
    }  # fmt: skip


def test_one_trace_from_the_request_to_the_callback(watched: Watched, collector: Collector) -> None:
    def names() -> list[str]:
        return [span.name for span in collector.of(TRACE)]

    until(lambda: names().count("callback") >= 6 and names().count("execute refuse-odd") >= 3, lambda: str(names()))
    spans = collector.of(TRACE)
    by_id = {span.span_id: span for span in spans}
    requests = [span for span in spans if span.parent_id == "00f067aa0ba902b7"]
    assert {span.attributes["runyard.request_id"] for span in requests} == set(REQUEST_IDS.values())
    assert {span.name for span in requests} == {
        "POST /v1/actions/<name:action_name>/live",
        "POST /v1/actions/<name:action_name>/async",
        "POST /v1/schedules/<uid:schedule_uid>/trigger",
    }
    for span in spans:
        if span.name.startswith(("execute", "callback")):
            assert by_id[span.parent_id].name.startswith(("POST", "launch"))
    executed = {span.attributes["runyard.run_uid"] for span in spans if span.name.startswith("execute")}
    assert executed == set(watched.runs.values())
    sent = {span.span_id for span in spans if span.name == "callback"}
    for one in watched.arrivals:
        version, trace_id, span_id, _ = one.headers["traceparent"].split("-")
        assert (version, trace_id) == ("00", TRACE)
        assert span_id in sent
