"""A run's callbacks are taken away with it, and nobody else's."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.webhooks.factories import callbacks, claim, record, statuses
from webhooks import removal
from webhooks.models import BodyPack, Callback
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_is_still_to_arrive_is_told(workspace: Workspace) -> None:
    run_uid = uuid4()
    assert not removal.has_undelivered(run_uid)
    callbacks(workspace, 2, run_uid=run_uid)
    assert removal.has_undelivered(run_uid)
    assert not removal.has_undelivered(uuid4())
    claims = claim()
    assert removal.has_undelivered(run_uid)
    record(claims[:1], 200)
    assert removal.has_undelivered(run_uid)
    record(claims[1:], 410)
    assert statuses() == {"SUCCESS": 1, "FAILED": 1}
    assert not removal.has_undelivered(run_uid)


def test_callbacks_and_bodies_go_and_others_stay(workspace: Workspace) -> None:
    run_uid = uuid4()
    callbacks(workspace, 3, run_uid=run_uid)
    [kept] = callbacks(workspace)
    removal.remove(run_uid)
    assert [(one.pk, one.body_pack_id) for one in Callback.objects.all()] == [(kept.pk, kept.body_pack_id)]
    assert [pack.pk for pack in BodyPack.objects.all()] == [kept.body_pack_id]


def test_what_is_being_sent_is_then_not_recorded(workspace: Workspace) -> None:
    run_uid = uuid4()
    callbacks(workspace, 2, run_uid=run_uid)
    claims = claim()
    removal.remove(run_uid)
    assert record(claims).locked == []
    assert not Callback.objects.exists()
