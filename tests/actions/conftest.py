from __future__ import annotations

import pytest

from actions import definition, registry


@pytest.fixture(autouse=True)
def actions_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it, and what was logged of it is forgotten."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(definition, "_defects", {})
