"""Callbacks as they are made: packed, due, and their receiver woken."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from tests.webhooks.factories import callbacks, receiver_of
from webhooks import bodies, intake, receivers
from webhooks.intake import BYTES_TOGETHER, PACKED_TOGETHER, Draft
from webhooks.models import BodyPack, Callback, CallbackStatus, Destination, Receiver, ReceiverStatus
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
NOW = timezone.now().replace(microsecond=0)


@pytest.fixture
def destination(workspace: Workspace) -> Destination:
    receiver = receivers.receiver_of(workspace, "https://receiver.test")
    return Destination.objects.create(receiver=receiver, url="https://receiver.test/a", created_at=NOW)


def make(destination: Destination, drafts: Any, **options: Any) -> int:
    given = {"workspace_id": destination.receiver.workspace_id, "run_uid": uuid4(), "created_at": NOW} | options
    return intake.make(drafts, destination=destination, **given)


def test_a_callback_is_born_pending_and_due(destination: Destination) -> None:
    run_uid = uuid4()
    drafts = [Draft(b'{"a":1}', uuid4(), uuid4()), Draft(b'"\xc3\xa9\\n"', uuid4(), None)]
    assert make(destination, iter(drafts), run_uid=run_uid) == 2
    made = list(Callback.objects.order_by("pk"))
    assert [(one.ref_uid, one.batch_uid, one.body_position) for one in made] == [
        (draft.ref_uid, draft.batch_uid, position) for position, draft in enumerate(drafts)
    ]
    for one in made:
        assert (one.status, one.claim, one.attempts, one.worker, one.parent_uid) == (
            CallbackStatus.PENDING, 0, [], "", None,
        )  # fmt: skip
        assert (one.created_at, one.next_attempt_at, one.leased_until) == (NOW, NOW, None)
        assert (one.run_uid, one.destination_id, one.receiver_id) == (run_uid, destination.pk, destination.receiver_id)
        assert one.workspace_id == destination.receiver.workspace_id
    assert len({one.uid for one in made}) == 2
    pack = BodyPack.objects.get()
    assert (pack.run_uid, bodies.unpack(pack.bodies)) == (run_uid, [draft.body for draft in drafts])


def test_bodies_are_packed_by_number_and_by_size(destination: Destination) -> None:
    small = [Draft(b"1", uuid4(), None)] * (PACKED_TOGETHER + 1)
    large = [Draft(b"[" + b" " * BYTES_TOGETHER + b"]", uuid4(), None)] * 2
    assert make(destination, [*small, *large, *small[:2]]) == PACKED_TOGETHER + 5
    packs = BodyPack.objects.order_by("pk")
    assert [len(bodies.unpack(pack.bodies)) for pack in packs] == [PACKED_TOGETHER, 1, 1, 1, 2]
    for one in Callback.objects.select_related("body_pack"):
        assert one.body_position < len(bodies.unpack(one.body_pack.bodies))


def test_nothing_is_made_of_nothing(destination: Destination) -> None:
    assert make(destination, []) == 0
    assert not BodyPack.objects.exists()
    assert Receiver.objects.get().wakes_at is None


def test_it_is_the_callers_transaction(destination: Destination) -> None:
    with transaction.atomic():
        make(destination, [Draft(b"1", uuid4(), None)])
        transaction.set_rollback(True)
    assert not Callback.objects.exists()
    assert not BodyPack.objects.exists()
    assert Receiver.objects.get().wakes_at is None


def test_the_receiver_is_woken_and_no_pause_is_cut_short(workspace: Workspace) -> None:
    receiver = receiver_of(callbacks(workspace)[0])
    assert receiver.wakes_at is not None
    assert receiver.wakes_at <= timezone.now()
    until = timezone.now() + timedelta(minutes=5)
    Receiver.objects.update(status=ReceiverStatus.PAUSED, paused_until=until, wakes_at=None)
    callbacks(workspace)
    assert Receiver.objects.get().wakes_at == until


def test_a_receiver_is_one_for_each_workspace_and_origin(workspace: Workspace) -> None:
    other = Workspace.objects.create(name="Globex")
    origins = [(workspace, "https://a.test"), (workspace, "https://a.test:8443"), (other, "https://a.test")]
    made = [receivers.receiver_of(*pair).pk for pair in origins]
    assert [receivers.receiver_of(*pair).pk for pair in origins] == made
    assert len(set(made)) == 3


@pytest.mark.django_db(transaction=True)
def test_a_receiver_asked_for_at_once_is_one(workspace: Workspace, side_by_side: Any) -> None:
    asked = [lambda: receivers.receiver_of(workspace, "https://a.test").pk] * 8
    assert len(set(side_by_side(*asked))) == 1
