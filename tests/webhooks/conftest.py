"""What the tests of webhooks share. Loaded before Django's settings are, so models are imported inside."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from workspaces.models import Workspace


class Names:
    """What the system's resolver finds: for each name its answers, the last one again and again. No other name is."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def __setitem__(self, name: str, answers: list[list[str]]) -> None:
        self.answers[name] = answers

    def find(self, host: bytes, port: int, **_: Any) -> list[tuple[Any, ...]]:
        name = host.decode()
        self.asked.append(name)
        answers = self.answers.get(name)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """The names that there are; those of `.example` are public."""
    names = Names()
    names["hooks.example"] = [["93.184.216.34"]]
    monkeypatch.setattr(socket, "getaddrinfo", names.find)
    return names


@pytest.fixture
def closed(settings: Any) -> None:
    """The default: callbacks go over https, and to nobody in our own network."""
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = False


@pytest.fixture
def reachable(settings: Any) -> None:
    """Receivers on this machine may be called, over plain HTTP."""
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = True


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
