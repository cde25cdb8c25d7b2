"""Sending again what is done, one callback or all that failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from rest.errors import Conflict, NotFound
from tests.factories import Member
from tests.webhooks.callbacks import callback, destination
from webhooks import replay as module
from webhooks.models import BodyPack, Callback, Receiver, ReceiverStatus
from webhooks.replay import replay, replay_failed

pytestmark = pytest.mark.django_db
PATIENCE_S = 30


def replays_of(made: Callback) -> list[Callback]:
    return list(Callback.objects.filter(parent_uid=made.uid).order_by("id"))


# --- One ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["FAILED", "SUCCESS"])
def test_a_new_callback_with_the_same_body(acme: Member, status: str) -> None:
    earlier = timezone.now() - timedelta(days=3)
    parent = callback(acme, status, batch_uid=uuid4(), created_at=earlier)
    made = replay(parent)
    assert made.parent_uid == parent.uid
    for name in ("ref_uid", "body_pack_id", "body_position", "destination_id", "receiver_id", "workspace_id", "run_uid",
                 "batch_uid"):  # fmt: skip
        assert getattr(made, name) == getattr(parent, name), name
    assert (made.status, made.claim, made.worker, made.leased_until, made.attempts) == ("PENDING", 0, "", None, [])
    assert made.created_at == made.next_attempt_at > earlier
    assert (made.uid.version, made.uid.variant) == (7, parent.uid.variant)
    assert made.uid.int >> 80 == int(made.created_at.timestamp() * 1_000)
    before = Callback.objects.get(pk=parent.pk)
    assert (before.status, before.attempts, before.claim) == (status, parent.attempts, parent.claim)


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_one_that_is_still_to_arrive_is_not_doubled(acme: Member, status: str) -> None:
    parent = callback(acme, status)
    with pytest.raises(Conflict) as caught:
        replay(parent)
    assert caught.value.params == {"status": status}
    assert status in caught.value.message
    assert Callback.objects.count() == 1


def test_what_was_read_before_does_not_decide(acme: Member) -> None:
    """Another replay, or the sender, may have moved it since."""
    parent = callback(acme)
    Callback.objects.filter(pk=parent.pk).update(status="RUNNING")
    with pytest.raises(Conflict):
        replay(parent)
    Callback.objects.filter(pk=parent.pk).delete()
    with pytest.raises(NotFound):
        replay(parent)


def test_each_replay_is_one_more(acme: Member) -> None:
    parent = callback(acme)
    first, second = replay(parent), replay(parent)
    assert first.uid != second.uid
    Callback.objects.filter(pk=second.pk).update(status="FAILED")
    third = replay(second)
    assert (third.parent_uid, third.ref_uid) == (second.uid, parent.ref_uid)


# --- The receiver ---------------------------------------------------------------------------------------------


def test_the_receiver_is_woken(acme: Member) -> None:
    parent = callback(acme)
    assert parent.receiver.wakes_at is None
    replay(parent)
    woken = Receiver.objects.get().wakes_at
    assert woken is not None
    assert woken <= timezone.now()


def test_a_receiver_that_wakes_sooner_stays_so(acme: Member) -> None:
    parent = callback(acme)
    soon = timezone.now() - timedelta(seconds=10)
    Receiver.objects.update(wakes_at=soon)
    replay(parent)
    assert Receiver.objects.get().wakes_at == soon
    Receiver.objects.update(wakes_at=timezone.now() + timedelta(hours=5))
    replay(parent)
    assert Receiver.objects.get().wakes_at <= timezone.now()


def test_a_pause_is_not_cut_short(acme: Member) -> None:
    parent = callback(acme)
    until = timezone.now() + timedelta(minutes=5)
    Receiver.objects.update(status=ReceiverStatus.PAUSED, paused_until=until)
    replay(parent)
    assert Receiver.objects.get().wakes_at == until


def test_each_receiver_of_a_bulk_is_woken(acme: Member) -> None:
    run_uid = uuid4()
    for number in range(3):
        callback(acme, to=destination(acme, url=f"https://{number}.example/"), run_uid=run_uid)
    callback(acme, to=destination(acme, url="https://not.example/"))
    replay_failed(acme.workspace, run_uid=run_uid)
    assert dict(Receiver.objects.values_list("origin", "wakes_at")).pop("https://not.example") is None
    assert Receiver.objects.filter(wakes_at__isnull=False).count() == 3


# --- In bulk --------------------------------------------------------------------------------------------------


def test_the_failed_callbacks_of_a_run(acme: Member, other: Member) -> None:
    run_uid, to = uuid4(), destination(acme)
    failed = [callback(acme, run_uid=run_uid, to=to) for _ in range(3)]
    for status in ("SUCCESS", "PENDING", "RUNNING"):
        callback(acme, status, run_uid=run_uid, to=to)
    callback(acme, to=to)
    callback(other, run_uid=run_uid)
    before = Callback.objects.count()
    assert replay_failed(acme.workspace, run_uid=run_uid) == 3
    assert Callback.objects.count() == before + 3
    made = Callback.objects.filter(parent_uid__isnull=False).order_by("id")
    assert [one.parent_uid for one in made] == [one.uid for one in failed], "in the order in which they were made"
    assert [one.ref_uid for one in made] == [one.ref_uid for one in failed]
    assert [one.body_pack_id for one in made] == [one.body_pack_id for one in failed]
    assert len({one.uid for one in made}) == 3
    assert {one.uid.version for one in made} == {7}
    assert len({one.created_at for one in made} | {one.next_attempt_at for one in made}) == 1


def test_the_failed_callbacks_since_a_time(acme: Member, other: Member) -> None:
    since, to = timezone.now() - timedelta(hours=1), destination(acme)
    callback(acme, created_at=since, to=to)
    later = [callback(acme, created_at=since + timedelta(microseconds=1 + n), to=to) for n in range(2)]
    callback(acme, "SUCCESS", created_at=since + timedelta(minutes=1), to=to)
    callback(other, created_at=since + timedelta(minutes=1))
    assert replay_failed(acme.workspace, created_after=since) == 2
    assert [len(replays_of(one)) for one in later] == [1, 1]
    assert Callback.objects.filter(parent_uid__isnull=False).count() == 2


def test_nothing_to_replay(acme: Member) -> None:
    callback(acme, "SUCCESS")
    assert replay_failed(acme.workspace, run_uid=uuid4()) == 0
    assert replay_failed(acme.workspace, created_after=timezone.now() - timedelta(days=1)) == 0


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCESS"])
@pytest.mark.parametrize("by", ["run_uid", "created_after"])
def test_one_whose_replay_is_under_way_or_arrived_is_not_doubled(acme: Member, by: str, status: str) -> None:
    parent = callback(acme)
    asked: dict[str, Any] = {"run_uid": parent.run_uid, "created_after": parent.created_at - timedelta(hours=1)}
    asked = {by: asked[by]}
    assert replay_failed(acme.workspace, **asked) == 1
    Callback.objects.filter(parent_uid=parent.uid).update(status=status)
    assert replay_failed(acme.workspace, **asked) == 0
    assert Callback.objects.count() == 2


def test_of_one_whose_replay_failed_too_the_replay_is_replayed(acme: Member) -> None:
    parent = callback(acme)
    replay_failed(acme.workspace, run_uid=parent.run_uid)
    Callback.objects.filter(parent_uid=parent.uid).update(status="FAILED")
    assert replay_failed(acme.workspace, run_uid=parent.run_uid) == 1
    (second,) = replays_of(parent)
    assert [one.ref_uid for one in replays_of(second)] == [parent.ref_uid]
    assert Callback.objects.count() == 3


def test_more_than_are_replayed_at_once(acme: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_KEEP", "_INSERT"):
        monkeypatch.setattr(module, name, getattr(module, name).replace(str(module.MAX_AT_ONCE), "3"))
    run_uid, to, start = uuid4(), destination(acme), timezone.now() - timedelta(hours=1)
    failed = [callback(acme, run_uid=run_uid, to=to, created_at=start + timedelta(seconds=n)) for n in range(7)]
    counts = [replay_failed(acme.workspace, run_uid=run_uid) for _ in range(4)]
    assert counts == [3, 3, 1, 0]
    made = Callback.objects.filter(parent_uid__isnull=False).order_by("id")
    assert [one.parent_uid for one in made] == [one.uid for one in failed], "the oldest first"


def test_a_bulk_takes_as_many_statements_however_many_there_are(acme: Member) -> None:
    counted = []
    for count in (1, 20):
        run_uid, to = uuid4(), destination(acme)
        for _ in range(count):
            callback(acme, run_uid=run_uid, to=to)
        with CaptureQueriesContext(connection) as queries:
            assert replay_failed(acme.workspace, run_uid=run_uid) == count
        counted.append(len(queries))
    assert counted[0] == counted[1]


# --- Side by side ---------------------------------------------------------------------------------------------


def in_thread(function: Callable[[], Any]) -> Any:
    try:
        return function()
    finally:
        connection.close()


@contextmanager
def beside(function: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Call a function in a thread with a connection of its own while the block lasts."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(in_thread, function)


@pytest.mark.django_db(transaction=True)
def test_of_two_bulks_at_once_one_is_told_to_come_again(acme: Member) -> None:
    run_uid = callback(acme).run_uid
    with transaction.atomic():
        assert replay_failed(acme.workspace, run_uid=run_uid) == 1
        with beside(lambda: replay_failed(acme.workspace, run_uid=run_uid)) as other:
            error = other.exception(PATIENCE_S)
    assert isinstance(error, Conflict)
    assert (error.params, error.headers) == ({"status": "IN_FLIGHT"}, {"Retry-After": "1"})
    assert replay_failed(acme.workspace, run_uid=run_uid) == 0
    assert Callback.objects.count() == 2


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to that")


def delete_run(run_uid: UUID) -> None:
    """Delete what a run has here, in the order that replays rely on."""
    with transaction.atomic():
        BodyPack.objects.filter(run_uid=run_uid).delete()
        Callback.objects.filter(run_uid=run_uid).delete()


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_deleted_meanwhile_takes_the_replay_along(acme: Member) -> None:
    parent = callback(acme)
    with transaction.atomic():
        replay(parent)
        pool = ThreadPoolExecutor(1)
        deletion = pool.submit(in_thread, lambda: delete_run(parent.run_uid))
        until(waits_for_a_lock)
    deletion.result(PATIENCE_S)
    pool.shutdown()
    assert (Callback.objects.count(), BodyPack.objects.count()) == (0, 0)


@pytest.mark.parametrize("verb", ["one", "bulk"])
@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_being_deleted_is_not_replayed(acme: Member, verb: str) -> None:
    parent = callback(acme)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            BodyPack.objects.filter(run_uid=parent.run_uid).delete()
            again = pool.submit(
                in_thread,
                lambda: replay(parent) if verb == "one" else replay_failed(acme.workspace, run_uid=parent.run_uid),
            )
            until(waits_for_a_lock)
            Callback.objects.filter(run_uid=parent.run_uid).delete()
        if verb == "one":
            assert isinstance(again.exception(PATIENCE_S), NotFound)
        else:
            assert again.result(PATIENCE_S) == 0
    assert Callback.objects.count() == 0
