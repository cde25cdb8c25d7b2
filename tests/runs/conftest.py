"""What the tests of runs share. Loaded before Django's settings are, so models are imported inside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from actions import ActionDefinition, ActionError, Context, Retry, action, registry


class Number(BaseModel):
    n: int


@pytest.fixture(autouse=True)
def actions_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))


@pytest.fixture(autouse=True)
def quotas_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test saw of a workspace is nothing to one that has another of the same id."""
    from workspaces import quotas

    monkeypatch.setattr(quotas, "_seen", {})


@pytest.fixture
def double() -> ActionDefinition:
    """`double`: {"n": 2} gives {"n": 4}."""

    @action("double")
    def double(input: Number) -> Number:
        """Twice the number."""
        return Number(n=input.n * 2)

    return double


@pytest.fixture
def count_up() -> ActionDefinition:
    """`count-up`: {"n": 3} gives 0, 1 and 2, three outputs."""

    @action("count-up")
    def count_up(input: Number) -> Iterator[int]:
        yield from range(input.n)

    return count_up


@pytest.fixture
def picky() -> ActionDefinition:
    """`picky`: gives n times n; 3 fails as ODD_ONE, 4 as GENERIC_ERROR, 5 waits for an hour."""

    @action("picky", max_attempts=2)
    def picky(input: Number, *, context: Context) -> Iterator[int]:
        if input.n == 3:
            raise ActionError("ODD_ONE", "three")
        if input.n == 4:
            raise ValueError("four")
        if input.n == 5:
            raise Retry(after_s=3600)
        yield from [input.n] * input.n

    return picky


@pytest.fixture
def awaited_action() -> None:
    """`first`: what other runs wait for. Tests say how it ends; where it is executed, it succeeds."""

    @action("first", modes=["live", "async"])
    def first(input: Number) -> int:
        return input.n


@pytest.fixture
def bell() -> Iterator[Any]:
    """The broker's client, with no wake waiting."""
    from celery import current_app

    from runs import doorbell

    with current_app.connection_for_write() as broker:
        client = broker.default_channel.client
        client.delete(doorbell.RUNS.queue)
        doorbell._waits_until.pop(doorbell.RUNS, None)  # it may have been full a moment ago
        yield client


@pytest.fixture
def loopback_receivers(settings: Any) -> None:
    """Callbacks may go to receivers on this machine."""
    settings.RUNYARD_CALLBACK_ALLOW_HTTP = settings.RUNYARD_CALLBACK_ALLOW_PRIVATE = True


@pytest.fixture
def no_live_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No wake of a live worker waits, no ring has failed just now, and all places of callers are free."""
    from celery import current_app

    from runs import doorbell, live

    with current_app.connection_for_write() as broker:
        broker.default_channel.client.delete(doorbell.LIVE.queue)
    monkeypatch.setattr(doorbell, "_silent_until", 0.0)
    live.places.cache_clear()
    yield
    live.places.cache_clear()


@pytest.fixture
def unhurried_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep looks at all dependents there are, where it else ends with its time on a busy machine."""
    from runs import recovery

    monkeypatch.setattr(recovery, "look_at_dependents", partial(recovery.look_at_dependents, step_s=60.0))
