"""What staff do in the admin, done with a mouse and a keyboard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from actions.models import Action
from runs import execution
from runs.models import Run, RunStatus, RunTransition
from tests.browser.scene import Scene
from tests.browser.visitor import Visitor
from tests.factories import launch, reread, work
from tests.runs.live_worker import until
from workspaces.models import ApiKey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

Visit = Callable[..., Visitor]


def button(page: Any, name: str) -> Any:
    """Return the button, or the link that looks like one."""
    return page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first


def test_a_run_is_cancelled_and_goes_on(visit: Visit, scene: Scene) -> None:
    visitor = visit(scene.root)
    page = visitor.open(f"/admin/runs/run/{scene.waiting.pk}/change/")
    button(page, "Cancel").click()
    assert reread(scene.waiting).status == RunStatus.BLOCKED  # asking does nothing
    visitor.look("confirmation")
    button(page, "Yes, cancel").click()
    page.locator("#content .badge", has_text="STOPPED").first.wait_for()
    stopped = RunTransition.objects.filter(run=scene.waiting).latest("id")
    assert (stopped.to_status, stopped.actor_uid) == (RunStatus.STOPPED, scene.root.uid)
    assert scene.root.username in page.locator("#content").inner_text()
    button(page, "Resume").click()
    button(page, "Yes, resume").click()
    page.locator("#content .badge", has_text=re.compile("QUEUED|BLOCKED")).first.wait_for()


def test_many_runs_are_cancelled_from_the_list(visit: Visit, scene: Scene) -> None:
    for _ in range(3):
        launch("sync-record", [{"domain": "a.example"}], by=scene.acme)
    visitor = visit(scene.root)
    page = visitor.open("/admin/runs/run/?action=sync-record")
    page.locator("#action-toggle").check()
    page.locator("select[name=action]").select_option(label="Cancel")
    visitor.look("runs-chosen")
    button(page, "Go on").click()
    page.get_by_role("heading", name="4 runs").wait_for()
    visitor.look("confirmation-of-many")
    button(page, "Yes, cancel").click()
    page.get_by_text(re.compile("4 runs?")).first.wait_for()
    until(lambda: set(Run.objects.filter(action_name="sync-record").values_list("status", flat=True)) == {"STOPPED"})


def test_a_key_is_made_shown_once_and_revoked(visit: Visit, scene: Scene) -> None:
    visitor = visit(scene.root)
    page = visitor.open("/admin/workspaces/apikey/add/")
    page.locator(".select2-selection").first.click()
    page.locator(".select2-results__option", has_text="ada@acme.test").first.click()
    page.get_by_label("Name").fill("for the crawler")
    page.get_by_role("button", name="Save").click()
    shown = page.locator(".key-once").inner_text()
    visitor.look("key-made")
    assert shown.startswith("ry_")
    row = ApiKey.objects.get(name="for the crawler")
    page = visitor.open(f"/admin/workspaces/apikey/{row.pk}/change/")
    assert shown not in page.content()
    button(page, "Revoke").click()
    button(page, "Yes, revoke").click()
    page.locator("#content").get_by_text("revoked").first.wait_for()
    row.refresh_from_db()
    assert row.revoked_at is not None


def test_an_action_is_paused_and_its_limits_are_lowered(visit: Visit, scene: Scene) -> None:
    action = Action.objects.get(name="enrich-company")
    page = visit(scene.root).open(f"/admin/actions/action/{action.pk}/change/")
    page.get_by_label("Seconds an input may take").fill("7")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#result_list").wait_for()
    page.goto(f"/admin/actions/action/{action.pk}/change/")
    button(page, "Pause").click()
    button(page, "Yes, pause").click()
    page.locator("#content").wait_for()
    until(lambda: Action.objects.filter(pk=action.pk, timeout_s=7, paused=True).exists())


def test_a_schedule_is_paused_and_triggered(visit: Visit, scene: Scene) -> None:
    page = visit(scene.root).open(f"/admin/schedules/schedule/{scene.schedule.pk}/change/")
    button(page, "Pause").click()
    button(page, "Yes, pause").click()
    page.locator("#content .badge", has_text="PAUSED").first.wait_for()
    button(page, "Trigger").click()
    button(page, "Yes, trigger").click()
    until(lambda: Run.objects.filter(schedule_uid=scene.schedule.uid).exists())


def test_an_action_is_tried_live(visit: Visit, scene: Scene) -> None:
    visitor = visit(scene.root)
    action = Action.objects.get(name="enrich-company")
    page = visitor.open(f"/admin/actions/action/{action.pk}/change/")
    button(page, "Try it").click()
    page.get_by_label("Domain").fill("example.com")
    visitor.look("try")
    button(page, "Call it now").click()
    answer = page.locator("#outcome .badge")
    until(lambda: answer.count() > 0 and answer.first.inner_text() == "SUCCEEDED", work=execution.execute_live)
    visitor.look("tried")
    assert '"name": "Example"' in page.locator("#outcome").inner_text()


def test_a_file_is_checked_and_launched(visit: Visit, scene: Scene) -> None:
    """What does not fit is shown with its line before anything is stored."""
    visitor = visit(scene.root)
    action = Action.objects.get(name="enrich-company")
    page = visitor.open(f"/admin/actions/action/{action.pk}/change/")
    button(page, "Upload inputs").click()
    before = Run.objects.count()
    lines = [json.dumps(one) for one in ({"domain": "a.example"}, {"domain": 7}, {"domain": "b.example"})]
    upload = {"name": "companies.jsonl", "mimeType": "application/jsonl", "buffer": "\n".join(lines).encode()}
    page.locator("input[type=file]").set_input_files(upload)
    button(page, "Check the file").click()
    row = page.locator(".launching-rows tbody tr").first
    row.wait_for()
    assert row.locator("td").first.inner_text() == "2"
    assert "domain" in row.inner_text()
    visitor.look("upload-checked")
    assert Run.objects.count() == before
    button(page, "Launch all the same").click()
    until(lambda: Run.objects.count() == before + 1)
    work()
    made = reread(Run.objects.latest("id"))
    assert (made.progress.succeeded_count, made.progress.invalid_count) == (2, 1)


def test_a_run_that_moves_is_seen_to_move(visit: Visit, scene: Scene) -> None:
    """Without a reload: its page follows it to the end, and then asks no more."""
    run = launch("enrich-company", [{"domain": f"f{n}.example"} for n in range(30)], by=scene.acme, batch_size=10)
    visitor = visit(scene.root)
    page = visitor.open(f"/admin/runs/run/{run.pk}/change/")
    page.locator("#content .badge", has_text="QUEUED").first.wait_for()
    page.evaluate("window.still = true")
    work(at_most=10_000)
    page.locator("#content .badge", has_text="SUCCEEDED").first.wait_for()
    assert page.evaluate("window.still") is True
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(8_000)
    assert asked == []


def test_the_menu_opens_on_a_narrow_screen(visit: Visit, scene: Scene) -> None:
    visitor = visit(scene.root, kind="narrow")
    page = visitor.open("/admin/")
    link = page.locator("#nav-sidebar").get_by_role("link", name="Schedules")
    assert not link.is_visible()
    page.locator("[x-on\\:click*='sidebarMobileOpen']:visible").first.click()
    link.wait_for(state="visible")
    visitor.look("menu")
    link.click()
    page.wait_for_url("**/admin/schedules/schedule/")
