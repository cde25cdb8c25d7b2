"""Callbacks and receivers in the admin: what is shown, to whom, and that nothing is changed there."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import Member
from tests.staff import EVIL, assert_harmless, page, rows, staff, superuser, text
from tests.webhooks.callbacks import attempt, callback, destination
from webhooks.models import Callback, Receiver

pytestmark = pytest.mark.django_db

CALLBACKS, RECEIVERS = "/admin/webhooks/callback/", "/admin/webhooks/receiver/"


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


@pytest.fixture
def failed(acme: Member) -> Callback:
    attempts = [attempt(None, error="Nobody took the connection."), attempt(503, http_response="so busy", error="503!")]
    to = destination(acme, url="https://hooks.example:8443/in?a=b", headers={"Authorization": "s3cr3t"})
    return callback(acme, to=to, attempts=attempts, parent_uid=uuid.uuid4(), batch_uid=uuid.uuid4())


@pytest.fixture
def hostile(acme: Member) -> Callback:
    """A callback whose every text is markup."""
    made = callback(
        acme,
        to=destination(acme, url=f"https://hooks.example/{EVIL}"),
        attempts=[attempt(500, http_response=EVIL, error=EVIL, at=EVIL)],
        worker=EVIL,
    )
    Receiver.objects.update(origin=EVIL, last_error=EVIL)
    return made


class TestCallbacks:
    def test_the_list(self, root: Any, failed: Callback) -> None:
        (row,) = rows(page(root, CALLBACKS))
        for shown in ("FAILED", "https://hooks.example:8443", str(failed.run_uid), " 2 ", "503!", "Acme"):
            assert shown in row

    def test_is_newest_first(self, root: Any, acme: Member) -> None:
        made = [str(callback(acme).run_uid) for _ in range(3)]
        found = [run for row in rows(page(root, CALLBACKS)) for run in made if run in row]
        assert found == made[::-1]

    def test_by_status(self, root: Any, acme: Member, failed: Callback) -> None:
        callback(acme, "PENDING")
        assert len(rows(page(root, CALLBACKS, status__exact="PENDING"))) == 1

    def test_by_uid(self, root: Any, acme: Member, failed: Callback) -> None:
        callback(acme, "SUCCESS", run_uid=failed.run_uid)
        callback(acme)
        for query, count in (
            (str(failed.uid), 1),
            (failed.uid.hex.upper(), 1),
            (f" {failed.run_uid} ", 2),
            (str(uuid.uuid4()), 0),
            ("nothing", 0),
            ("", 3),
        ):
            assert len(rows(page(root, CALLBACKS, q=query))) == count, query

    def test_one_with_its_attempts(self, root: Any, failed: Callback) -> None:
        html = page(root, f"{CALLBACKS}{failed.pk}/change/")
        shown = text(html)
        for one in (failed.uid, failed.ref_uid, failed.run_uid, failed.batch_uid, failed.parent_uid):
            assert str(one) in shown
        assert "https://hooks.example:8443/in?a=b" in shown
        for one in ("Nobody took the connection.", "503!", "so busy"):
            assert one in shown
        assert "s3cr3t" not in html.html
        assert not html.css('a[href*="hooks.example"]'), "to follow it would be a call"

    def test_costs_the_same_for_three_rows_and_for_twenty(self, root: Any, acme: Member) -> None:
        counted = []
        for count in (3, 17):
            for _ in range(count):
                callback(acme, to=destination(acme, url=f"https://{uuid.uuid4()}.example/"))
            with CaptureQueriesContext(connection) as queries:
                page(root, CALLBACKS)
            counted.append(len(queries))
            assert not [query for query in queries if '"headers"' in query["sql"] or "bodypack" in query["sql"]]
        assert counted[0] == counted[1] <= 7

    def test_what_is_stored_becomes_no_markup(self, root: Any, hostile: Callback) -> None:
        for path in (CALLBACKS, f"{CALLBACKS}{hostile.pk}/change/"):
            html = page(root, path)
            assert "<script>alert('x')</script>" in text(html)
            assert_harmless(html)


class TestReceivers:
    def test_the_list(self, root: Any, acme: Member, other: Member) -> None:
        to, until = destination(acme), timezone.now() + timedelta(minutes=5)
        for status in ("PENDING", "PENDING", "RUNNING", "SUCCESS"):
            callback(acme, status, to=to)
        callback(other, "PENDING")
        Receiver.objects.filter(pk=to.receiver.pk).update(
            status="PAUSED", success_rate=0.256, paused_until=until, last_error="no answer"
        )
        found = {row.split()[1]: row for row in rows(page(root, RECEIVERS))}
        for shown in ("https://hooks.example", "PAUSED", "26%", " 3 ", "no answer", f"{until:%Y-%m-%d %H:%M:%S}Z"):
            assert shown in found["Acme"]
        assert " 1 " in found["Globex"]

    def test_one(self, root: Any, acme: Member) -> None:
        receiver = callback(acme, "PENDING").receiver
        shown = text(page(root, f"{RECEIVERS}{receiver.pk}/change/"))
        assert "https://hooks.example" in shown
        assert root.get(f"{RECEIVERS}999999/change/").status_code == 302

    def test_found_by_a_part_of_the_origin(self, root: Any, acme: Member) -> None:
        for name in ("one", "two"):
            destination(acme, url=f"https://{name}.example/")
        assert len(rows(page(root, RECEIVERS, q="TWO"))) == 1

    def test_what_is_stored_becomes_no_markup(self, root: Any, hostile: Callback) -> None:
        for path in (RECEIVERS, f"{RECEIVERS}{hostile.receiver_id}/change/"):
            html = page(root, path)
            assert "<script>alert('x')</script>" in text(html)
            assert_harmless(html)


class TestWhoMay:
    def test_staff_see_their_workspaces(self, acme: Member, other: Member) -> None:
        mine, theirs = callback(acme), callback(other)
        browser = staff(acme.user, "webhooks.view_callback", "webhooks.view_receiver")
        for path, own, foreign in (
            (CALLBACKS, mine, theirs),
            (RECEIVERS, mine.receiver, theirs.receiver),
        ):
            assert len(rows(page(browser, path))) == 1
            assert browser.get(f"{path}{own.pk}/change/").status_code == 200
            assert browser.get(f"{path}{foreign.pk}/change/").status_code == 302
        assert rows(page(browser, CALLBACKS, q=str(theirs.uid))) == []

    def test_others_see_nothing(self, acme: Member) -> None:
        made = callback(acme)
        browser = staff(acme.user)
        for path in (CALLBACKS, RECEIVERS, f"{CALLBACKS}{made.pk}/change/"):
            assert browser.get(path).status_code == 403

    def test_nothing_is_added_changed_or_deleted(self, root: Any, failed: Callback) -> None:
        for path in (CALLBACKS, RECEIVERS):
            assert root.get(f"{path}add/").status_code == 403
            for key in (failed.pk, failed.receiver_id):
                assert root.get(f"{path}{key}/delete/").status_code in (302, 403)
                assert root.post(f"{path}{key}/change/", {"status": "SUCCESS"}).status_code in (302, 403)
        assert Callback.objects.get().status == "FAILED"

    @pytest.mark.parametrize("model", ["signingsecret", "destination", "bodypack"])
    def test_secrets_headers_and_bodies_have_no_page(self, root: Any, model: str) -> None:
        assert root.get(f"/admin/webhooks/{model}/").status_code == 404
