"""The admin's first page: what needs attention, figures that lead to what they count, and nothing of others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from actions import action, registry
from config.health import note_process
from config.models import ProcessHeartbeat
from rest.errors import stored_error
from runs.models import Run, RunStatus
from schedules import lifecycle
from schedules.models import Fire, FireKind
from tests.factories import Member, Number, launch, numbers, work
from tests.schedules.planned import plan
from tests.staff import EVIL, assert_harmless, page, rows, staff, superuser, text
from tests.webhooks.factories import callbacks, receiver_of
from webhooks.models import Receiver

pytestmark = pytest.mark.django_db

HOME = "/admin/"
ALL = ("runs.view_run", "schedules.view_schedule", "webhooks.view_receiver", "config.view_processheartbeat")


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @action("double")
    def double(input: Number) -> Number:
        return Number(n=input.n * 2)


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


def notices(html: Any) -> list[str]:
    return [" ".join(one.text(separator=" ").split()) for one in html.css(".notice")]


def alive() -> None:
    for role in ("live", "runs", "webhooks", "system", "beat"):
        note_process(f"{role}@here", role=role)


def failed(by: Member, label: str = "BROKEN", message: str = "It broke.") -> Run:
    made = launch("double", numbers(1), by=by)
    error = {"label": label, "message": message}
    Run.objects.filter(pk=made.pk).update(status=RunStatus.FAILED, last_error=error, finished_at=timezone.now())
    return made


def troubled(by: Member) -> None:
    """One of everything that a person should look at."""
    failed(by)
    [made] = callbacks(by.workspace, url="https://dead.test/hook")
    Receiver.objects.filter(pk=receiver_of(made).pk).update(
        status="PAUSED", paused_until=timezone.now(), last_error="The receiver answered 503."
    )
    now = timezone.now()
    schedule = plan(by=by, name="weekly", cron="0 8 * * MON")
    Fire.objects.create(schedule=schedule, kind=FireKind.MISSED, due_at=now, at=now, count=3)
    halted = plan(by=by, name="nowhere", cron="0 8 * * MON")
    error = stored_error("BAD_INPUT", "timezone: There is none.", scope="input", params={"field": "timezone"})
    assert lifecycle.pause_because(halted.pk, error, now=now)
    old = stored_error("NOT_FOUND", "It was gone.", scope="action")
    by_hand = plan(by=by, name="resting", last_error=old, next_execution_at=now + timedelta(days=1))
    lifecycle.pause(by_hand)


def test_all_is_well(root: Any) -> None:
    alive()
    assert notices(page(root, HOME)) == ["check_circle Nothing. Runs, callbacks and schedules go as they should."]


def test_what_needs_attention_comes_first_and_says_why(root: Any, acme: Member) -> None:
    alive()
    ProcessHeartbeat.objects.filter(role="beat").update(seen_at=timezone.now() - timedelta(minutes=2))
    troubled(acme)
    html = page(root, HOME)
    found = "\n".join(notices(html))
    for shown in (
        "No beat is alive",
        "1 run of double failed BROKEN: It broke.",
        "The receiver https://dead.test is paused The receiver answered 503.",
        "The schedule weekly missed 3 times",
        "The schedule nowhere is paused BAD_INPUT: timezone: There is none.",
    ):
        assert shown in found
    assert "No worker" not in found
    assert "resting" not in found  # a person's own decision
    content = html.css_first("#content").html or ""
    assert content.index("Needs attention") < content.index("Runs that ended") < content.index("Processes")


def test_every_figure_leads_to_the_list_it_counts(root: Any, acme: Member) -> None:
    launch("double", numbers(4), by=acme)
    launch("double", numbers(2), by=acme)
    work()
    earlier = Run.objects.latest("id").pk
    Run.objects.filter(pk=earlier).update(finished_at=timezone.now() - timedelta(hours=2))
    launch("double", numbers(3), by=acme)
    troubled(acme)
    html = page(root, HOME)
    tiles = {one.css_first("a").text().split()[1]: one.css_first("strong").text() for one in html.css(".tiles li")}
    assert tiles == {"running": "0", "waiting": "1", "blocked": "0", "stopped": "0"}
    links = html.css(".tile, .notice a, .outcomes a, .panel table a")
    assert len(links) > 20
    for link in links:
        assert root.get(link.attributes["href"]).status_code == 200, link.html
    figures = [one for one in html.css(".notice a, .tile, .outcomes a") if "/runs/run/" in one.attributes["href"]]
    counted = [int(next(word for word in one.text().split() if word.isdecimal())) for one in figures]
    listed = [len(rows(page(root, one.attributes["href"]))) for one in figures]
    assert listed == counted
    assert {1, 2} <= set(counted)


def test_what_was_done_is_drawn_and_told(root: Any, acme: Member) -> None:
    launch("double", numbers(4), by=acme)
    work()
    html = page(root, HOME)
    for chart in html.css(".bar-chart"):
        assert len(chart.css("rect.good")) == 1
        assert "4 succeeded, 0 failed" in chart.text()
        assert chart.attributes["role"] == "img"
    assert "4 succeeded" in text(html)


def test_staff_see_of_it_what_is_theirs(acme: Member, other: Member) -> None:
    alive()
    troubled(other)
    launch("double", numbers(3), by=other)
    html = page(staff(acme.user, *ALL), HOME)
    assert notices(html) == ["check_circle Nothing. Runs, callbacks and schedules go as they should."]
    assert [one.text() for one in html.css(".tile strong")] == ["0", "0", "0", "0"]
    assert "weekly" not in text(html)
    assert len(notices(page(staff(other.user, *ALL), HOME))) == 4


@pytest.mark.parametrize("permission", ALL)
def test_staff_see_of_it_what_they_may(acme: Member, permission: str) -> None:
    troubled(acme)
    html = page(staff(acme.user, permission), HOME)
    shown = {
        "runs.view_run": bool(html.css(".tile")),
        "schedules.view_schedule": "Next fires" in text(html),
        "webhooks.view_receiver": "https://dead.test" in text(html),
        "config.view_processheartbeat": "Processes" in (html.css_first("#content").text() or ""),
    }
    assert [name for name, there in shown.items() if there] == [permission]


def test_stored_text_is_shown_and_not_run(root: Any, acme: Member) -> None:
    failed(acme, label=EVIL, message=EVIL)
    plan(by=acme, name=EVIL[:200], cron="0 8 * * MON")
    html = page(root, HOME)
    assert_harmless(html)
    assert "alert('x')" in text(html)


def test_it_costs_the_same_however_much_there_is(root: Any, acme: Member) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert root.get(HOME).status_code == 200
        return len(queries)

    troubled(acme)
    few = count()
    for _ in range(5):
        troubled(acme)
        launch("double", numbers(2), by=acme)
    assert count() == few <= 16
