from __future__ import annotations

from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks
from selectolax.lexbor import LexborHTMLParser

from config.beat import Entry
from config.models import ProcessHeartbeat
from runs import doorbell
from tests.staff import EVIL, assert_harmless, page, rows, staff, superuser, text
from workspaces.models import User

pytestmark = pytest.mark.django_db

TASKS = "/admin/django_celery_beat/periodictask/"
INTERVALS, CRONTABS = "/admin/django_celery_beat/intervalschedule/", "/admin/django_celery_beat/crontabschedule/"
PROCESSES = "/admin/config/processheartbeat/"
SWEEP = "Sweep: expired leases, due retries, lost wakes"


@pytest.fixture
def root(db: None) -> Client:
    return superuser()


def test_a_change_of_the_key_logs_nobody_out_while_the_old_one_is_kept(root: Client, settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "the next one"
    assert root.get("/admin/").status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert root.get("/admin/").status_code == 200  # the session has been signed anew meanwhile


def test_a_change_of_the_key_alone_logs_out(root: Client, settings: Any) -> None:
    settings.SECRET_KEY = "the next one"
    assert root.get("/admin/").status_code == 302


@pytest.fixture
def sweep(db: None) -> PeriodicTask:
    """The row that beat makes of the settings."""
    entry = settings.CELERY_BEAT_SCHEDULE[SWEEP]
    Entry.from_entry(SWEEP, app=current_app._get_current_object(), **entry)
    return PeriodicTask.objects.get(name=SWEEP)


@pytest.fixture
def broker() -> Any:
    """The broker's client, with no message waiting."""
    doorbell._silent_until = 0
    with current_app.connection_for_write() as link:
        client = link.default_channel.client
        client.delete("system")
        yield client
        client.delete("system")


def change(client: Client, task: PeriodicTask, /, **fields: Any) -> Any:
    given = {"enabled": "on", "interval": task.interval_id, "crontab": "", "expire_seconds": "5", "description": ""}
    return client.post(f"{TASKS}{task.pk}/change/", given | fields)


class TestPeriodicTasks:
    def test_show_their_clock_and_queue(self, root, sweep):
        (row,) = rows(page(root, TASKS))
        for shown in (SWEEP, "every second", "runs.sweep", "system"):
            assert shown in row

    def test_are_tuned_and_beat_is_told(self, root, sweep):
        interval = IntervalSchedule.objects.create(every=2, period="seconds")
        before = PeriodicTasks.last_change()
        assert change(root, sweep, interval=interval.pk, expire_seconds="9").status_code == 302
        sweep.refresh_from_db()
        assert (sweep.interval, sweep.expire_seconds, sweep.enabled) == (interval, 9, True)
        assert PeriodicTasks.last_change() > before

    def test_stay_what_they_are(self, root, sweep):
        change(root, sweep, name="other", task="os.system", queue="nowhere", args="[1]")
        sweep.refresh_from_db()
        assert (sweep.name, sweep.task, sweep.queue, sweep.args) == (SWEEP, "runs.sweep", "system", "[]")

    @pytest.mark.parametrize("clocks", ["none", "two"])
    def test_run_by_one_clock(self, root, sweep, clocks):
        crontab = CrontabSchedule.objects.create(minute="5")
        given = {"interval": ""} if clocks == "none" else {"crontab": crontab.pk}
        assert page_is_refused(change(root, sweep, **given))

    @pytest.mark.parametrize("path", ["add/", "{pk}/delete/"])
    def test_are_neither_added_nor_deleted(self, root, sweep, path):
        assert root.post(TASKS + path.format(pk=sweep.pk), {"post": "yes"}).status_code == 403
        root.post(TASKS, {"action": "delete_selected", "_selected_action": sweep.pk, "post": "yes"})
        assert PeriodicTask.objects.filter(pk=sweep.pk).exists()

    def test_are_switched_off_and_on(self, root, sweep):
        for action, enabled in (("disable", False), ("enable", True)):
            before = PeriodicTasks.last_change()
            root.post(TASKS, {"action": action, "_selected_action": sweep.pk})
            sweep.refresh_from_db()
            assert sweep.enabled is enabled
            assert PeriodicTasks.last_change() > before

    def test_run_now_on_their_queue(self, root, sweep, broker):
        response = root.post(TASKS, {"action": "run_now", "_selected_action": sweep.pk}, follow=True)
        assert "sent to system" in response.content.decode()
        assert broker.llen("system") == 1
        assert b"runs.sweep" in broker.lrange("system", 0, 0)[0]

    def test_say_so_when_the_broker_is_away(self, root, sweep, monkeypatch):
        monkeypatch.setattr(doorbell, "ring", lambda *_, **__: False)
        response = root.post(TASKS, {"action": "run_now", "_selected_action": sweep.pk}, follow=True)
        assert "did not take it" in response.content.decode()

    @pytest.mark.parametrize("action", ["enable", "disable", "run_now"])
    def test_are_not_acted_on_by_those_who_may_only_look(self, sweep, broker, action):
        viewer = staff(User.objects.create(username="vera"), "django_celery_beat.view_periodictask")
        viewer.post(TASKS, {"action": action, "_selected_action": sweep.pk})
        changed = PeriodicTask.objects.get(pk=sweep.pk)
        assert (changed.enabled, broker.llen("system")) == (True, 0)
        assert change(viewer, sweep).status_code == 403

    def test_show_markup_and_do_not_run_it(self, root, sweep):
        PeriodicTask.objects.update(name=EVIL[:200], description=EVIL, queue=EVIL)
        for path in (TASKS, f"{TASKS}{sweep.pk}/change/", f"{INTERVALS}{sweep.interval_id}/change/"):
            assert_harmless(page(root, path))


def page_is_refused(response: Any) -> bool:
    html = LexborHTMLParser(response.content.decode())
    return response.status_code == 200 and bool(html.css(".errorlist, .errornote"))


class TestClocks:
    def test_are_made_and_changed(self, root):
        root.post(f"{INTERVALS}add/", inline({"every": "3", "period": "minutes"}))
        made = IntervalSchedule.objects.get()
        root.post(f"{INTERVALS}{made.pk}/change/", inline({"every": "4", "period": "minutes"}))
        assert IntervalSchedule.objects.get().every == 4

    @pytest.mark.parametrize(
        ("every", "period", "is_taken"),
        [
            ("365", "days", True),
            ("366", "days", False),
            ("2147483647", "days", False),
            ("31536000", "seconds", True),
            ("31536001", "seconds", False),
            ("100000", "microseconds", True),
            ("99999", "microseconds", False),
            ("", "days", False),
            ("1", "", False),
        ],
    )
    def test_of_intervals_beat_can_keep(self, root, every, period, is_taken):
        answer = root.post(f"{INTERVALS}add/", inline({"every": every, "period": period}))
        assert page_is_refused(answer) is not is_taken
        assert IntervalSchedule.objects.exists() is is_taken

    def test_are_not_deleted_with_their_tasks(self, root, sweep):
        assert root.post(f"{INTERVALS}{sweep.interval_id}/delete/", {"post": "yes"}).status_code == 403

    def test_say_when_in_words(self, root):
        CrontabSchedule.objects.create(minute="5", hour="4")
        assert "At 04:05" in rows(page(root, CRONTABS))[0]

    def test_of_no_use_are_not_there(self, root):
        for name in ("clockedschedule", "solarschedule"):
            assert root.get(f"/admin/django_celery_beat/{name}/").status_code == 404


def inline(fields: dict[str, str]) -> dict[str, str]:
    return {**fields, "periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0"}


class TestProcesses:
    def test_are_seen_and_not_changed(self, root):
        row = ProcessHeartbeat.objects.create(name="runs@host", role="runs", seen_at=timezone.now())
        assert "runs@host" in rows(page(root, PROCESSES))[0]
        assert root.post(f"{PROCESSES}{row.pk}/change/", {"name": "x"}).status_code == 403
        assert root.post(f"{PROCESSES}{row.pk}/delete/", {"post": "yes"}).status_code == 403


class TestSite:
    def test_is_named(self, root):
        html = page(root, "/admin/")
        assert html.css_first("title").text().strip() == "Overview | Runyard"
        assert "Runyard" in html.css_first("#nav-sidebar").text()

    def test_asks_for_nothing_from_elsewhere(self, root):
        for path in ("/admin/", "/admin/runs/run/", "/admin/workspaces/apikey/add/"):
            html = page(root, path)
            addresses = [
                one.attributes.get("src") or one.attributes.get("href") or "" for one in html.css("script, link, img")
            ]
            assert all(address.startswith(("/", "data:")) for address in addresses if address), addresses

    @pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/admin/runs/run/", "/admin/workspaces/apikey/add/"])
    def test_leaves_browsers_no_icon_to_ask_for(self, root, client, path):
        visitor = client if path == "/admin/login/" else root
        assert page(visitor, path).css_first("head link[rel=icon]").attributes["href"] == "data:,"

    def test_writes_times_in_an_order_that_sorts(self, root):
        ProcessHeartbeat.objects.create(name="a", role="runs", seen_at="2026-01-02T13:04:05Z")
        assert "2026-01-02 13:04:05Z" in text(page(root, PROCESSES))

    @pytest.mark.parametrize("model", sorted(admin.site._registry, key=str), ids=lambda model: model._meta.label)
    def test_no_list_counts_sorts_or_looks_up_without_an_end(self, root, model):
        from workspaces.staff import StaffAdmin

        made = admin.site.get_model_admin(model)
        assert isinstance(made, StaffAdmin)
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        with CaptureQueriesContext(connection) as queries:
            kept = root.get(path).headers["Cache-Control"]
        assert "private" in kept
        assert all("LIMIT 10001" in query["sql"] for query in queries if "COUNT(" in query["sql"])
        assert root.get(f"{path}?id__gt=1").status_code == 400

    @pytest.mark.parametrize("path", [TASKS, INTERVALS, CRONTABS, PROCESSES])
    def test_costs_the_same_for_three_rows_and_for_thirty(self, root, path):
        costs = []
        for start, end in ((0, 3), (3, 30)):
            for n in range(start, end):
                interval = IntervalSchedule.objects.create(every=n + 1, period="hours")
                PeriodicTask.objects.create(name=f"t{n}", task="runs.sweep", interval=interval)
                CrontabSchedule.objects.create(minute=str(n))
                ProcessHeartbeat.objects.create(name=f"p{n}", role="runs", seen_at=timezone.now())
            with CaptureQueriesContext(connection) as queries:
                html = page(root, path)
            costs.append(len(queries))
        assert len(rows(html)) == 30
        assert costs[0] == costs[1] <= 6

    @pytest.mark.parametrize("path", [TASKS, INTERVALS, CRONTABS, PROCESSES])
    def test_staff_without_the_permission_are_refused(self, path):
        assert staff(User.objects.create(username="vera"), "runs.view_run").get(path).status_code == 403
