"""The register of quotas: apps above say what they count, `report` tells."""

from __future__ import annotations

import pytest

from rest.errors import LimitReached
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


@pytest.mark.parametrize(("limit", "used"), [(2, 1), (None, 9)])
def test_below_the_limit_there_may_be_one_more(limit: int | None, used: int) -> None:
    quotas.check(Quota("gold_stars", "MAX_STARS", limit=lambda: limit, used=lambda _: used), Workspace(name="Acme"))


@pytest.mark.parametrize("used", [2, 3])
def test_at_the_limit_there_may_not(used: int) -> None:
    quota = Quota("gold_stars", "MAX_STARS", limit=lambda: 2, used=lambda _: used)
    with pytest.raises(LimitReached, match=rf"has {used} gold stars of the 2 it may have \(MAX_STARS\)") as caught:
        quotas.check(quota, Workspace(name="Acme"))
    assert caught.value.params == {"limit": 2, "used": used, "setting": "MAX_STARS"}
    assert caught.value.headers == {"Retry-After": "60"}
