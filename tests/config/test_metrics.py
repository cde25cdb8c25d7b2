"""`/metrics`: what monitoring reads, without a key, the same from every process."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from actions import ActionDefinition
from schedules import firing, retention
from schedules.clock import database_time
from schedules.models import Fire, FireTotal, Schedule
from telemetry import counting
from tests.factories import Member
from tests.runs.conftest import actions_of_the_test, double  # noqa: F401
from tests.schedules.planned import MINUTE, NOON, plan

pytestmark = pytest.mark.django_db
LATENESS = "runyard_schedule_lateness_seconds"


def samples(**headers: str) -> dict[tuple[str, str], float]:
    """Every sample, by its name and its label's value."""
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.content
    is_open = "openmetrics" in answer.headers["Content-Type"]
    read = read_openmetrics if is_open else text_string_to_metric_families
    found = [sample for family in read(answer.content.decode()) for sample in family.samples]
    return {(sample.name, next(iter(sample.labels.values()), "")): sample.value for sample in found}


def fires_in(found: dict[tuple[str, str], float]) -> dict[str, float]:
    return {kind: value for (name, kind), value in found.items() if name == "runyard_schedule_fires_total"}


def of_schedules(found: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    return {key: value for key, value in found.items() if key[0].startswith("runyard_schedule_")}


def test_before_anything_has_fired() -> None:
    found = samples()
    fires = fires_in(found)
    assert fires == {"FIRED": 0, "TRIGGERED": 0, "SKIPPED": 0, "MISSED": 0}
    assert (found[LATENESS + "_count", ""], found[LATENESS + "_sum", ""]) == (0, 0)
    assert found["runyard_schedule_overdue_seconds", ""] == 0


def test_fires_and_how_late_they_were(acme: Member, double: ActionDefinition) -> None:  # noqa: F811
    schedule = plan(by=acme, overlap="skip")
    firing.tick(now=NOON + timedelta(seconds=0.7))
    firing.tick(now=NOON + MINUTE)
    Schedule.objects.update(overlap="allow")
    firing.tick(now=NOON + 7 * MINUTE)
    firing.trigger(schedule, by=acme.user, now=NOON)
    found = samples()
    fires = {kind: value for (name, kind), value in found.items() if name == "runyard_schedule_fires_total"}
    # 12:00, then 12:02 to 12:05 as one, then 12:06 and 12:07
    assert fires == {"FIRED": 4, "TRIGGERED": 1, "SKIPPED": 1, "MISSED": 3}
    assert fires["SKIPPED"] + fires["MISSED"] == Schedule.objects.get().missed_count
    assert (found[LATENESS + "_count", ""], found[LATENESS + "_sum", ""]) == (4, 0.7 + 120 + 60 + 0)
    buckets = {le: value for (name, le), value in found.items() if name == LATENESS + "_bucket"}
    assert [buckets[le] for le in ("0.1", "0.5", "1.0", "30.0", "60.0", "600.0", "+Inf")] == [1, 1, 2, 2, 3, 4, 4]


def test_counters_do_not_go_back_when_lines_are_deleted(
    acme: Member,
    double: ActionDefinition,  # noqa: F811
) -> None:
    plan(by=acme)
    firing.tick(now=NOON)
    before = of_schedules(samples())
    assert retention.prune(now=NOON + timedelta(days=31)) == 1
    Schedule.objects.all().delete()
    overdue = {("runyard_schedule_overdue_seconds", ""): 0}
    assert of_schedules(samples()) == {**before, **overdue}


def test_how_long_the_first_has_waited(acme: Member, double: ActionDefinition) -> None:  # noqa: F811
    now = database_time()
    for minutes in (-5, -2, 3):
        plan(by=acme, next_execution_at=now + minutes * MINUTE)
    assert 300 <= samples()["runyard_schedule_overdue_seconds", ""] < 360


def test_new_bounds_find_old_counts(acme: Member, double: ActionDefinition) -> None:  # noqa: F811
    FireTotal.objects.create(kind="FIRED", count=5, late_s=1.0, late_counts=[5])
    plan(by=acme)
    firing.tick(now=NOON + timedelta(seconds=59))
    found = samples()
    assert (found[LATENESS + "_bucket", "0.1"], found[LATENESS + "_count", ""]) == (5, 6)
    assert found["runyard_schedule_fires_total", "FIRED"] == 6


@pytest.mark.parametrize(
    "accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0", "application/json"]
)
def test_in_the_format_that_is_asked_for(accept: str) -> None:
    assert set(samples(Accept=accept)) == set(samples())
    answer = Client().get("/metrics", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith(
        "application/openmetrics-text" if "openmetrics" in accept else "text/plain"
    )
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_it_costs_little(acme: Member, double: ActionDefinition, django_assert_num_queries: Any) -> None:  # noqa: F811
    plan(by=acme)
    Fire.objects.bulk_create(Fire(schedule=Schedule.objects.get(), kind="MISSED", at=NOON) for _ in range(50))
    with django_assert_num_queries(11):
        samples()


def test_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "HOST", "/nowhere")
    answer = Client().get("/metrics")
    assert (answer.status_code, bool(answer.headers["Retry-After"])) == (503, True)


@pytest.mark.parametrize("host", ["10.0.0.7:8000", "not_a_host"])
def test_whatever_the_host(settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = ["runyard.example.org"]
    assert Client().get("/metrics", headers={"Host": host}).status_code == 200


def test_while_redis_is_away(settings: Any) -> None:
    settings.REDIS_CLIENT_URL = "redis://127.0.0.1:1/0"
    counting._client.cache_clear()
    try:
        found = samples()
    finally:
        counting._client.cache_clear()
    assert found["runyard_broker_up", ""] == 0
    assert not [name for name, _ in found if name.startswith(("runyard_inputs", "runyard_queue_messages"))]
    assert found["runyard_processes", "runs"] == 0


def test_labels_are_words_of_ours_and_names_of_actions(acme: Member, double: ActionDefinition) -> None:  # noqa: F811
    plan(by=acme, name="of a user", tags=["tag of a user"])
    firing.tick(now=NOON)
    counting.push()
    text = Client().get("/metrics").content.decode()
    families = text_string_to_metric_families(text)
    labels = {(name, value) for one in families for each in one.samples for name, value in each.labels.items()}
    assert {name for name, _ in labels} == {
        "action",
        "kind",
        "le",
        "mode",
        "outcome",
        "queue",
        "reason",
        "role",
        "status",
    }
    # Names that actions of other tests had are in Redis still.
    words = {value for name, value in labels if name not in ("action", "le")}
    assert all(re.fullmatch(r"[A-Za-z_]+", word) for word in words)
    assert "of a user" not in text
