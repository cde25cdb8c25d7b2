"""What staff do to schedules, through the API's verbs."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from actions import ActionDefinition
from schedules.models import Fire, FireKind, Schedule
from tests.factories import Member, member
from tests.schedules.planned import again, plan, runs_of
from tests.staff import do_to_many, do_to_one, offered_verbs, page, staff, superuser, told
from workspaces.models import User

pytestmark = pytest.mark.django_db

LIST = "/admin/schedules/schedule/"
VERBS = ["trigger", "pause", "resume", "cancel"]


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition) -> None:
    """`double` can be called."""


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


@pytest.fixture
def schedule(acme: Member) -> Schedule:
    return plan(by=acme, name="weekly", cron="0 8 * * MON")


def verbs_of(client: Any, schedule: Schedule) -> list[str]:
    return [one for one in offered_verbs(page(client, f"{LIST}{schedule.pk}/change/")) if one in VERBS]


def test_each_state_has_its_verbs(root: Any, acme: Member) -> None:
    made = {status: plan(by=acme, status=status) for status in ("ACTIVE", "PAUSED", "COMPLETED", "CANCELLED")}
    assert {status: verbs_of(root, one) for status, one in made.items()} == {
        "ACTIVE": ["trigger", "pause", "cancel"],
        "PAUSED": ["trigger", "resume", "cancel"],
        "COMPLETED": ["trigger"],
        "CANCELLED": [],
    }


def test_pausing_resuming_and_cancelling(root: Any, schedule: Schedule) -> None:
    assert told(do_to_one(root, LIST, "pause", schedule)) == "weekly: Paused."
    assert (again(schedule).status, again(schedule).next_execution_at) == ("PAUSED", None)
    said = told(do_to_one(root, LIST, "resume", schedule))
    assert said == f"weekly: Resumed: due next at {again(schedule).next_execution_at:%Y-%m-%d %H:%M:%S}Z."
    assert again(schedule).status == "ACTIVE"
    do_to_one(root, LIST, "cancel", schedule)
    assert again(schedule).status == "CANCELLED"
    assert "stays so. Make a new one." in told(do_to_one(root, LIST, "resume", schedule))
    entries = LogEntry.objects.order_by("pk").values_list("user__username", "change_message")
    assert [(name, message.split(":")[0].rstrip(".")) for name, message in entries] == [
        ("root", "Paused"),
        ("root", "Resumed"),
        ("root", "Cancelled"),
    ]


def test_triggering_launches_a_run_of_the_persons(root: Any, schedule: Schedule) -> None:
    said = told(do_to_one(root, LIST, "trigger", schedule))
    [run] = runs_of(schedule)
    assert said == f"weekly: Launched the run {run.uid}."
    assert run.user == User.objects.get(username="root")
    assert Fire.objects.get(schedule=schedule).kind == FireKind.TRIGGERED


def test_a_link_triggers_nothing(root: Any, schedule: Schedule) -> None:
    page(root, f"{LIST}{schedule.pk}/trigger/")
    assert runs_of(schedule) == []


def test_in_bulk_one_that_is_refused_stops_no_others(root: Any, acme: Member, schedule: Schedule) -> None:
    busy = plan(by=acme, name="busy", overlap="skip")
    do_to_one(root, LIST, "trigger", busy)
    html = do_to_many(root, LIST, "trigger", busy, schedule)
    assert "1 of 2 schedules: Triggered." in told(html)
    assert "Left as they are, 1 schedule: The last run is unfinished, and overlap is skip. busy" in told(html)
    assert (len(runs_of(busy)), len(runs_of(schedule))) == (1, 1)


def test_who_may(acme: Member, other: Member, schedule: Schedule) -> None:
    may = ("schedules.view_schedule", "schedules.change_schedule")
    reader = staff(member("Acme", "una@acme.test", role="USER").user, *may)
    viewer = staff(acme.user, "schedules.view_schedule")
    foreign = staff(other.user, *may)
    for client, status in ((reader, 403), (viewer, 403), (foreign, 302)):
        assert client.post(f"{LIST}{schedule.pk}/cancel/").status_code == status
        client.post(f"{LIST}bulk/cancel/", {"rows": str(schedule.pk)})
    assert verbs_of(reader, schedule) == verbs_of(viewer, schedule) == []
    assert again(schedule).status == "ACTIVE"
