"""The register of quotas: apps above say what they count, `report` tells."""

from __future__ import annotations

import pytest

from workspaces import quotas
from workspaces.models import Workspace
from workspaces.quotas import Quota, Standing


@pytest.fixture(autouse=True)
def quotas_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "_quotas", {})


def test_each_is_told_for_the_workspace_asked_about() -> None:
    quotas.register(Quota("letters", "MAX_LETTERS", limit=lambda: 5, used=lambda workspace: len(workspace.name)))
    quotas.register(Quota("stars", "MAX_STARS", limit=lambda: None, used=lambda _: 0))
    assert quotas.report(Workspace(name="Acme")) == {"letters": Standing(5, 4), "stars": Standing(None, 0)}


def test_one_of_the_same_name_takes_its_place() -> None:
    for limit in (1, 2):
        quotas.register(Quota("stars", "MAX_STARS", limit=lambda limit=limit: limit, used=lambda _: 0))
    assert quotas.report(Workspace(name="Acme")) == {"stars": Standing(2, 0)}
