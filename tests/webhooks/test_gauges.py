"""How callbacks and receivers stand, as `/metrics` tells it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import Member
from tests.webhooks.callbacks import callback, destination
from webhooks import gauges
from webhooks.models import CallbackStatus, Receiver

pytestmark = pytest.mark.django_db


def test_what_is_still_to_arrive_and_for_how_long_it_could_have_been_sent(
    acme: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gauges.undelivered() == (0, 0, 0)
    for status in ("PENDING", "PENDING", "RUNNING", "SUCCESS", "FAILED"):
        callback(acme, CallbackStatus(status))
    Receiver.objects.update(wakes_at=timezone.now() - timedelta(seconds=70))
    found = gauges.undelivered()
    assert found[:2] == (2, 1)
    assert 70 <= found.wait_s < 130
    Receiver.objects.update(wakes_at=timezone.now() + timedelta(seconds=70))  # it is paused
    assert gauges.undelivered().wait_s == 0
    monkeypatch.setattr(gauges, "COUNTED_CALLBACKS", 1)
    assert gauges.undelivered().pending == 1


def test_receivers_by_status(acme: Member) -> None:
    assert gauges.receivers() == {"OK": 0, "PAUSED": 0}
    destination(acme, url="https://one.example/")
    destination(acme, url="https://two.example/")
    Receiver.objects.filter(origin="https://two.example").update(status="PAUSED")
    assert gauges.receivers() == {"OK": 1, "PAUSED": 1}
