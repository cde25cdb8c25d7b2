"""What the tests of callbacks share. Loaded before Django's settings are, so models are imported inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from workspaces.models import Workspace


@pytest.fixture(autouse=True)
def loopback(settings: Any) -> None:
    """Callbacks may go to this machine."""
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = True
    settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = True


@pytest.fixture
def workspace(db: None) -> Workspace:
    from workspaces.models import Workspace

    return Workspace.objects.create(name="Acme")


@pytest.fixture
def sending() -> Iterator[Callable[..., Any]]:
    """Send callbacks in this process until a condition holds; its threads end with the test."""
    from tests.webhooks.factories import send_until
    from webhooks import sender

    yield send_until
    sender.stop(patience_s=0)
