"""The register of quotas: apps above say what they count, `report` tells."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rest.errors import LimitReached
from workspaces import quotas
from workspaces.models import Workspace
from workspaces.quotas import Quota, Standing


@pytest.fixture(autouse=True)
def quotas_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "_quotas", {})
    monkeypatch.setattr(quotas, "_seen", {})


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


def test_far_from_the_limit_what_was_counted_holds_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, counted = [100.0], []
    monkeypatch.setattr(quotas, "time", SimpleNamespace(monotonic=lambda: now[0]))
    quota = Quota("red_stars", "MAX_STARS", limit=lambda: 10_000, used=lambda workspace: counted.append(1) or 5)  # type: ignore[func-returns-value]
    acme, globex = Workspace(pk=1, name="Acme"), Workspace(pk=2, name="Globex")
    for workspace, at, times in ((acme, 0.0, 1), (acme, 0.9, 1), (globex, 0.9, 2), (acme, 1.0, 3), (acme, 1.9, 3)):
        now[0] = 100.0 + at
        assert quotas.check(quota, workspace).is_wide
        assert len(counted) == times, (workspace, at)


def test_near_to_the_limit_each_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    used, limit = [0], [1_001]
    quota = Quota("blue_stars", "MAX_STARS", limit=lambda: limit[0], used=lambda _: used[0])
    acme = Workspace(pk=1, name="Acme")
    assert quotas.check(quota, acme).is_wide
    limit[0] = 999  # what was seen is near to it now
    used[0] = 999
    with pytest.raises(LimitReached):
        quotas.check(quota, acme)


def test_a_room_that_was_seen_long_ago_is_not_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(quotas, "time", SimpleNamespace(monotonic=lambda: now[0]))
    room = quotas.check(
        Quota("old_stars", "MAX_STARS", limit=lambda: 10_000, used=lambda _: 5), Workspace(pk=1, name="Acme")
    )
    now[0] += quotas.MOMENT_S + 0.1
    assert not room.is_wide
