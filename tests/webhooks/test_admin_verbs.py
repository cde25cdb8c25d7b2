"""What staff do to callbacks and receivers."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from tests.egress.server import Server, answering, reply
from tests.factories import Member, member
from tests.staff import do_to_many, do_to_one, offered_verbs, page, staff, superuser, told
from tests.webhooks.callbacks import callback, destination
from webhooks import receivers
from webhooks.models import Callback, Destination, Receiver

pytestmark = pytest.mark.django_db

CALLBACKS, RECEIVERS = "/admin/webhooks/callback/", "/admin/webhooks/receiver/"
VERBS = ["replay", "test", "drain", "pause"]


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


@pytest.fixture
def receiver(acme: Member) -> Receiver:
    """A receiver with a callback that waits."""
    return callback(acme, "PENDING").receiver


def verbs_of(client: Any, path: str, row: Any) -> list[str]:
    return [one for one in offered_verbs(page(client, f"{path}{row.pk}/change/")) if one in VERBS]


class TestReplaying:
    def test_one(self, root: Any, acme: Member) -> None:
        failed = callback(acme)
        assert verbs_of(root, CALLBACKS, failed) == ["replay"]
        said = told(do_to_one(root, CALLBACKS, "replay", failed))
        again = Callback.objects.get(parent_uid=failed.uid)
        assert said == f"{failed}: Sent again as {again.uid}."
        assert (again.status, again.ref_uid) == ("PENDING", failed.ref_uid)

    def test_one_that_is_still_to_arrive_is_refused(self, root: Any, acme: Member) -> None:
        waiting = callback(acme, "PENDING")
        assert verbs_of(root, CALLBACKS, waiting) == []
        assert "it is still to arrive" in told(do_to_one(root, CALLBACKS, "replay", waiting))

    def test_many(self, root: Any, acme: Member) -> None:
        made = [callback(acme, status) for status in ("FAILED", "SUCCESS", "PENDING")]
        assert "2 of 2 callbacks: Sent again." in told(do_to_many(root, CALLBACKS, "replay", *made))
        assert Callback.objects.count() == 5


class TestPausing:
    def test_for_so_long(self, root: Any, receiver: Receiver) -> None:
        assert verbs_of(root, RECEIVERS, receiver) == ["test", "pause"]
        said = told(do_to_one(root, RECEIVERS, "pause", receiver, seconds="900"))
        assert said == "https://hooks.example: Paused for 15 minutes."
        receiver.refresh_from_db()
        assert receiver.status == "PAUSED"
        assert receiver.paused_until is not None
        assert timedelta(minutes=14) < receiver.paused_until - timezone.now() <= timedelta(minutes=15)
        assert LogEntry.objects.get().change_message == "Paused for 15 minutes."
        assert verbs_of(root, RECEIVERS, receiver) == ["test", "drain", "pause"]

    @pytest.mark.parametrize("seconds", ["", "1", "-900", "x"])
    def test_for_no_other_time(self, root: Any, receiver: Receiver, seconds: str) -> None:
        answer = root.post(f"{RECEIVERS}{receiver.pk}/pause/", {"seconds": seconds})
        assert answer.status_code == 200
        receiver.refresh_from_db()
        assert receiver.status == "OK"

    def test_ends_by_draining(self, root: Any, receiver: Receiver) -> None:
        receivers.pause(receiver, seconds=900)
        assert told(do_to_one(root, RECEIVERS, "drain", receiver)) == "https://hooks.example: The pause is over."
        receiver.refresh_from_db()
        assert (receiver.status, receiver.paused_until) == ("OK", None)
        assert "The receiver is not paused." in told(do_to_one(root, RECEIVERS, "drain", receiver))


class TestTesting:
    def test_sends_to_the_url_named_last_and_tells_what_came_of_it(
        self, root: Any, acme: Member, reachable: None
    ) -> None:
        with Server(answering(reply())) as server:
            destination(acme, url=server.url("/old"))
            made = destination(acme, url=server.url("/new"), headers={"X-Their-Own": "yes"})
            said = told(do_to_one(root, RECEIVERS, "test", made.receiver))
        assert "The test was answered 200 after" in said
        [received] = server.received
        assert received.path == "/new"
        assert dict(received.headers)["X-Their-Own"] == "yes"
        assert json.loads(received.body)["test"] is True

    def test_tells_a_failure(self, root: Any, acme: Member, names: Any) -> None:
        made = destination(acme, url="https://nobody.example/in")
        assert "nobody.example has no address" in told(do_to_one(root, RECEIVERS, "test", made.receiver))

    def test_takes_a_url_that_is_stored(self, root: Any, acme: Member) -> None:
        made = destination(acme)
        Destination.objects.all().delete()
        assert "there is nothing to test" in told(do_to_one(root, RECEIVERS, "test", made.receiver))


def test_who_may(acme: Member, other: Member, receiver: Receiver) -> None:
    may = ("webhooks.view_receiver", "webhooks.change_receiver")
    reader = staff(member("Acme", "una@acme.test", role="USER").user, *may)
    viewer = staff(acme.user, "webhooks.view_receiver")
    foreign = staff(other.user, *may)
    for client, status in ((reader, 403), (viewer, 403), (foreign, 302)):
        assert client.post(f"{RECEIVERS}{receiver.pk}/pause/", {"seconds": "900"}).status_code == status
        client.post(f"{RECEIVERS}bulk/pause/", {"rows": str(receiver.pk), "seconds": "900"})
    assert verbs_of(reader, RECEIVERS, receiver) == verbs_of(viewer, RECEIVERS, receiver) == []
    receiver.refresh_from_db()
    assert receiver.status == "OK"
