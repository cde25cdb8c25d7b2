"""Signatures as the Standard Webhooks library sees them, and the secrets behind them."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from webhooks import signing
from webhooks.models import SigningSecret
from webhooks.signing import Secrets
from workspaces.models import Workspace

BODY = b'{"callback_ref_uid": "\xc3\xa9"}'


def headers(secrets: Secrets, now: datetime | None = None) -> dict[str, str]:
    return signing.headers_for(secrets, ref_uid=uuid4(), body=BODY, now=now or timezone.now())


def verifies(secret: str, sent: dict[str, str], body: bytes = BODY) -> bool:
    try:
        Webhook(secret).verify(body, sent)
    except WebhookVerificationError:
        return False
    return True


def test_a_first_secret_is_made_once(workspace: Workspace) -> None:
    now = timezone.now()
    made = signing.secrets_of(workspace.pk, now=now)
    assert signing.secrets_of(workspace.pk, now=now + timedelta(days=9)) == made == Secrets(made.secret, None, None)
    assert made.secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(made.secret.removeprefix("whsec_"))) <= 64


@pytest.mark.django_db(transaction=True)
def test_who_asks_at_once_gets_the_same_secret(workspace: Workspace, side_by_side: Any) -> None:
    asked = [lambda: signing.secrets_of(workspace.pk, now=timezone.now()).secret] * 8
    assert len(set(side_by_side(*asked))) == 1


def test_a_signature_is_verified_and_is_of_this_body_id_and_time(workspace: Workspace) -> None:
    secrets = signing.secrets_of(workspace.pk, now=timezone.now())
    sent = headers(secrets)
    assert verifies(secrets.secret, sent)
    assert not verifies(secrets.secret, sent, BODY + b" ")
    assert not verifies(secrets.secret, sent | {"webhook-id": str(uuid4())})
    assert not verifies(secrets.secret, sent | {"webhook-timestamp": str(int(sent["webhook-timestamp"]) + 1)})
    assert not verifies(signing._new_secret(), sent)
    assert not verifies(secrets.secret, headers(secrets, timezone.now() - timedelta(minutes=10)))  # too old


def test_both_secrets_sign_for_a_day_after_a_rotation(workspace: Workspace) -> None:
    now = timezone.now()
    first = signing.secrets_of(workspace.pk, now=now)
    rotated = signing.rotate(workspace.pk, now=now)
    assert (rotated.previous_secret, rotated.previous_expires_at) == (first.secret, now + timedelta(hours=24))
    for at in (now, now + timedelta(hours=24) - timedelta(seconds=1)):
        sent = headers(signing.secrets_of(workspace.pk, now=at))
        assert verifies(rotated.secret, sent)
        assert verifies(first.secret, sent)
    sent = headers(signing.secrets_of(workspace.pk, now=now + timedelta(hours=24)))
    assert verifies(rotated.secret, sent)
    assert not verifies(first.secret, sent)


def test_a_second_rotation_ends_the_first_secret(workspace: Workspace) -> None:
    now = timezone.now()
    first = signing.rotate(workspace.pk, now=now)
    second = signing.rotate(workspace.pk, now=now + timedelta(hours=1))
    assert second.previous_secret == first.secret
    assert second.secret not in (first.secret, first.previous_secret)


def test_secrets_are_each_workspaces_own(workspace: Workspace) -> None:
    other = Workspace.objects.create(name="Globex")
    now = timezone.now()
    before = signing.secrets_of(other.pk, now=now)
    assert signing.rotate(workspace.pk, now=now).secret != before.secret
    assert signing.secrets_of(other.pk, now=now) == before


def test_secrets_are_not_shown(workspace: Workspace) -> None:
    rotated = signing.rotate(workspace.pk, now=timezone.now())
    row = SigningSecret.objects.get()
    for shown in (repr(rotated), str(rotated), repr(row), str(row)):
        assert "whsec_" not in shown
