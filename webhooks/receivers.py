"""Receivers: the origins that a workspace's callbacks go to, and when each is looked at next."""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection, transaction

from webhooks.models import Receiver
from workspaces.models import Workspace

# Locked in one order, since senders lock several too. A pause is not cut short.
_WAKE = """
WITH woken AS (
    SELECT id FROM webhooks_receiver WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE
)
UPDATE webhooks_receiver receiver
   SET wakes_at = LEAST(wakes_at, GREATEST(
       now(), CASE status WHEN 'PAUSED' THEN paused_until END
   ))
  FROM woken WHERE receiver.id = woken.id
"""


def receiver_of(workspace: Workspace, origin: str) -> Receiver:
    """Return the workspace's receiver of that origin, made when it is missing."""
    return Receiver.objects.get_or_create(workspace=workspace, origin=origin)[0]


def wake(receiver_ids: Collection[int]) -> None:
    """Have senders look at receivers as soon as may be.

    For the transaction that stores what is due, behind it: whoever works out `wakes_at` holds the same lock.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_WAKE, [list(receiver_ids)])
