"""Unfinished runs: counted for the workspace, told by name, and refused beyond the limit."""

from __future__ import annotations

from typing import Any

import pytest

from actions import ActionDefinition
from rest.errors import LimitReached
from runs.quotas import UNFINISHED_RUNS, check_one_more
from tests.factories import Member, launch, numbers, work
from workspaces import quotas
from workspaces.quotas import Standing

pytestmark = pytest.mark.django_db


def test_what_is_unfinished_is_told(acme: Member, other: Member, double: ActionDefinition, settings: Any) -> None:
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 7
    for one in (acme, acme, other):
        launch("double", numbers(1), by=one)
    assert quotas.report(acme.workspace)["unfinished_runs"] == Standing(limit=7, used=2)
    assert quotas.report(other.workspace)["unfinished_runs"] == Standing(limit=7, used=1)
    work()
    assert quotas.report(acme.workspace)["unfinished_runs"] == Standing(limit=7, used=0)


def test_telling_counts_once(acme: Member, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        UNFINISHED_RUNS.used(acme.workspace)


def test_one_more_than_the_limit_is_refused(
    acme: Member, other: Member, double: ActionDefinition, settings: Any
) -> None:
    settings.RUNYARD_MAX_UNFINISHED_RUNS = 2
    launch("double", numbers(1), by=acme)
    check_one_more(acme.workspace)
    launch("double", numbers(1), by=acme)
    with pytest.raises(LimitReached, match="2 unfinished runs") as refused:
        check_one_more(acme.workspace)
    assert refused.value.params == {"limit": 2, "used": 2, "setting": "RUNYARD_MAX_UNFINISHED_RUNS"}
    assert refused.value.headers == {"Retry-After": "60"}
    check_one_more(other.workspace)
    work()
    check_one_more(acme.workspace)
