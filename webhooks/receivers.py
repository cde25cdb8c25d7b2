"""Receivers: the origins that a workspace's callbacks go to."""

from __future__ import annotations

from webhooks.models import Receiver
from workspaces.models import Workspace


def receiver_of(workspace: Workspace, origin: str) -> Receiver:
    """Return the workspace's receiver at `origin`, made where there is none."""
    receiver, _ = Receiver.objects.get_or_create(workspace=workspace, origin=origin)
    return receiver
