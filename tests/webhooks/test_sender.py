"""Sending from threads: what arrives, what is recorded, who waits for whom, and how it ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django.utils import timezone

from egress import Policy
from tests.webhooks import factories
from tests.webhooks.factories import (
    callbacks,
    database_goes_away,
    is_done,
    make_due,
    receiver_of,
    reread,
    statuses,
    until,
)
from tests.webhooks.receiver import BlackHole, Receiver, answer, by_path, close, in_turn, reset, send, verify
from webhooks import delivery, dispatch, pausing, sender, signing
from webhooks.models import Callback, ReceiverStatus
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("reachable")]
Sending = Callable[..., None]


@pytest.fixture(autouse=True)
def few_threads(settings: Any) -> None:
    settings.RUNYARD_CALLBACK_THREADS = 8
    delivery.client.cache_clear()


def refs(receiver: Receiver) -> list[str]:
    return [body["callback_ref_uid"] for body in receiver.bodies()]


def test_callbacks_arrive_signed_each_once(workspace: Workspace, sending: Sending) -> None:
    with Receiver(answer(200, b"thanks")) as receiver:
        made = callbacks(workspace, 300, url=receiver.url("/hook?a=b"), headers=(("X-Token", "t"),))
        sending(is_done)
    assert sorted(refs(receiver)) == sorted(str(one.ref_uid) for one in made)
    secret = signing.secrets_of(workspace.pk, now=timezone.now()).secret
    for sent in receiver.received:
        verify(sent, secret)
        assert (sent.path, sent.header("x-token")) == ("/hook?a=b", "t")
    for one in Callback.objects.all():
        assert (one.status, len(one.attempts), one.attempts[0]["http_response"]) == ("SUCCESS", 1, "thanks")
    assert receiver.accepted <= 4  # connections are kept, and half of the threads are a receiver's
    assert receiver_of(made[0]).wakes_at is None


def test_a_slice_that_finds_nothing_ends_at_once(workspace: Workspace, sending: Sending) -> None:
    assert sender.send_slice(60) is False


def test_a_slice_says_whether_there_is_more(workspace: Workspace, sending: Sending) -> None:
    hole = BlackHole()
    with Receiver(hole) as receiver:
        callbacks(workspace, 1, url=receiver.url())
        assert sender.send_slice(0.1) is True
        assert sender.send_slice(0.1) is True  # it is under way
        hole.is_open.set()
        sending(is_done)
    until(lambda: sender.send_slice(60) is False)


def test_new_callbacks_are_found_while_others_are_under_way(workspace: Workspace, sending: Sending) -> None:
    hole = BlackHole()
    with Receiver(hole) as slow, Receiver(answer()) as quick:
        callbacks(workspace, 1, url=slow.url())
        assert sender.send_slice(0.1)
        callbacks(workspace, 20, url=quick.url())
        sending(lambda: len(quick.received) == 20)
        assert statuses()["RUNNING"] >= 1


def test_failures_of_every_kind_are_recorded_and_retried(workspace: Workspace, sending: Sending) -> None:
    broken, bad = (
        (reset, close, send(b"?\r\n")),
        (answer(500, b"a\0\xff"), answer(302, b"", "Location: /x"), answer(404)),
    )
    with Receiver(in_turn(*broken, *bad, answer())) as receiver:
        [made] = callbacks(workspace, 1, url=receiver.url())
        sending(is_done, between=make_due)
    attempts = reread(made).attempts
    assert [one["http_status"] for one in attempts] == [None, None, None, 500, 302, 404, 200]
    assert attempts[3]["http_response"] == "a\ufffd\ufffd"
    assert [bool(one["error"]) for one in attempts] == [True] * 6 + [False]
    secret = signing.secrets_of(workspace.pk, now=timezone.now()).secret
    assert len({sent.header("webhook-id") for sent in receiver.received}) == 1
    for sent in receiver.received:
        verify(sent, secret)


def test_every_attempt_is_signed_by_the_secrets_of_its_time(workspace: Workspace, sending: Sending) -> None:
    first = signing.secrets_of(workspace.pk, now=timezone.now())
    with Receiver(in_turn(answer(500), answer())) as receiver:
        callbacks(workspace, 1, url=receiver.url())
        sending(lambda: len(receiver.received) == 1 and statuses() == {"PENDING": 1})
        second = signing.rotate(workspace.pk, now=timezone.now())
        sending(is_done, between=make_due)
    verify(receiver.received[0], first.secret)
    verify(receiver.received[1], first.secret, second.secret)


def test_a_slow_receiver_holds_up_nobody(workspace: Workspace, sending: Sending) -> None:
    """All that another has waiting arrives while a black hole holds what it may."""
    hole = BlackHole()
    with Receiver(hole) as slow, Receiver(answer()) as quick:
        callbacks(workspace, 500, url=slow.url())
        assert sender.send_slice(0.2)
        callbacks(workspace, 100, url=quick.url())
        sending(lambda: Callback.objects.filter(status="SUCCESS").count() == 100)
        assert len(slow.received) == 4  # half of eight threads, and no more were claimed
        assert statuses() == {"SUCCESS": 100, "RUNNING": 4, "PENDING": 496}


def test_several_black_holes_leave_threads(workspace: Workspace, sending: Sending) -> None:
    hole = BlackHole()
    with Receiver(hole) as one, Receiver(hole) as two, Receiver(answer()) as quick:
        for slow in (one, two):
            callbacks(workspace, 50, url=slow.url())
        assert sender.send_slice(0.3)
        callbacks(workspace, 50, url=quick.url())
        sending(lambda: len(quick.received) == 50)
        assert len(one.received) + len(two.received) <= 7


def test_a_workspace_with_many_black_holes_leaves_a_thread_to_others(workspace: Workspace, sending: Sending) -> None:
    """Each has one callback, so none of them ever fails often enough to be paused."""
    hole = BlackHole()
    with ExitStack() as stack, Receiver(answer()) as quick:
        for _ in range(20):
            callbacks(workspace, url=stack.enter_context(Receiver(hole)).url())
        assert sender.send_slice(0.5)
        callbacks(Workspace.objects.create(name="Globex"), 20, url=quick.url())
        sending(lambda: statuses().get("SUCCESS") == 20)


def test_a_receiver_is_paused_probed_and_drained(workspace: Workspace, sending: Sending, settings: Any) -> None:
    settings.RUNYARD_CALLBACK_RETRY_SCALE = 0.01
    with Receiver(answer(503)) as receiver:
        made = callbacks(workspace, 200, url=receiver.url())
        sending(lambda: receiver_of(made[0]).failures_in_row >= 13)  # three probes failed
        paused = receiver_of(made[0])
        assert paused.status == ReceiverStatus.PAUSED
        assert paused.last_error == "The receiver answered 503."
        tried = sum(len(one.attempts) for one in Callback.objects.all())
        assert tried == len(receiver.received) - statuses().get("RUNNING", 0)
        # Ten, as many before those were recorded, what was under way then, and the probes: the others lost no attempt.
        probes = receiver_of(made[0]).failures_in_row - pausing.FAILURES_IN_ROW
        assert tried <= 2 * pausing.FAILURES_IN_ROW + 4 + probes
        receiver.act = answer()
        sending(is_done)
    assert statuses() == {"SUCCESS": 200}
    assert receiver_of(made[0]).status == ReceiverStatus.OK
    assert sum(len(one.attempts) for one in Callback.objects.all()) == len(receiver.received)


def test_urls_of_one_origin_share_its_pause_but_not_410(workspace: Workspace, sending: Sending) -> None:
    with Receiver(by_path(gone=answer(410), fine=answer())) as receiver:
        callbacks(workspace, 30, url=receiver.url("/gone"))
        callbacks(workspace, 30, url=receiver.url("/fine"))
        sending(is_done)
    assert statuses() == {"FAILED": 30, "SUCCESS": 30}
    assert Counter(one.path for one in receiver.received) == {"/gone": 30, "/fine": 30}


def test_the_time_limit_is_kept_and_told(
    workspace: Workspace, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery.attempt, "__kwdefaults__", {"timeout_s": 0.3})
    with Receiver(BlackHole()) as receiver:
        [made] = callbacks(workspace, 1, url=receiver.url())
        sending(lambda: statuses() == {"PENDING": 1} and bool(reread(made).attempts))
    assert reread(made).attempts[0]["error"] == "There was no whole answer within 0.3 s."


def test_a_deleted_callback_is_in_nobodys_way(workspace: Workspace, sending: Sending) -> None:
    hole = BlackHole()
    with Receiver(hole) as receiver:
        callbacks(workspace, 2, url=receiver.url())
        assert sender.send_slice(0.1)
        Callback.objects.all().delete()
        callbacks(workspace, 1, url=receiver.url())
        hole.is_open.set()
        sending(is_done)
    assert statuses() == {"SUCCESS": 1}


def test_a_database_that_goes_away_loses_nothing(workspace: Workspace, sending: Sending) -> None:
    """What was sent meanwhile is recorded when it is back."""
    hole = BlackHole()
    with Receiver(hole) as receiver:
        callbacks(workspace, 3, url=receiver.url())
        assert sender.send_slice(0.1)
        database_goes_away()
        hole.is_open.set()
        until(lambda: len(receiver.received) == 3)
        sending(is_done)
    assert statuses() == {"SUCCESS": 3}
    assert {len(one.attempts) for one in Callback.objects.all()} == {1}


def test_an_outcome_that_cannot_be_recorded_holds_up_no_other(
    workspace: Workspace, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = delivery.text_of
    monkeypatch.setattr(delivery, "text_of", lambda body: "\0" if body == b"bad" else real(body))
    with Receiver(in_turn(answer(200, b"bad"), answer())) as receiver:
        callbacks(workspace, 20, url=receiver.url())
        sending(lambda: statuses() == {"SUCCESS": 19, "RUNNING": 1})


def test_a_defect_of_ours_is_a_failed_attempt_and_tells_no_secret(
    workspace: Workspace, sending: Sending, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(delivery.client(Policy(frozenset({"http", "https"}), True)), "fetch", fetch)
    [made] = callbacks(workspace, 1)
    sending(lambda: bool(reread(made).attempts))
    assert reread(made).attempts[0]["error"] == "The request could not be made."
    assert "secret" not in caplog.text


# --- The end


def test_what_is_under_way_is_recorded_at_the_end_and_all_else_handed_back(
    workspace: Workspace, sending: Sending
) -> None:
    hole = BlackHole()
    with Receiver(hole) as receiver:
        callbacks(workspace, 20, url=receiver.url())
        assert sender.send_slice(0.2)
        until(lambda: len(receiver.received) == 4)
        stopping = threading.Thread(target=sender.stop)
        stopping.start()
        time.sleep(0.05)
        hole.is_open.set()
        stopping.join(30)
    assert statuses() == {"SUCCESS": 4, "PENDING": 16}
    assert len(receiver.received) == 4


def test_what_does_not_end_in_time_is_handed_back(workspace: Workspace, sending: Sending) -> None:
    with Receiver(BlackHole()) as receiver:
        made = callbacks(workspace, 20, url=receiver.url())
        assert sender.send_slice(0.2)
        until(lambda: len(receiver.received) == 4)
        sender.stop(patience_s=0.1)
        assert statuses() == {"PENDING": 20}
        assert len(factories.claim()) == 20
        assert not any(reread(one).attempts for one in made)


def test_what_waited_too_long_for_a_thread_is_not_sent(
    workspace: Workspace, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease might not last for the attempt: somebody else has it then, and it would arrive twice."""
    monkeypatch.setattr(dispatch, "START_WITHIN_S", -1.0)
    with Receiver(answer()) as receiver:
        callbacks(workspace, 3, url=receiver.url())
        sender.send_slice(0.2)
        sender.stop()
        assert (receiver.received, statuses()) == ([], {"PENDING": 3})


def test_there_is_nothing_to_end_where_nothing_was_sent() -> None:
    sender.stop()
    sender.stop()
