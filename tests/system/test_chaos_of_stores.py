"""The broker and the database go away and come back, in every way there is, while callers go on."""

from __future__ import annotations

import pytest

from tests.system import chaos
from tests.system.faults import STORE_KINDS, Kind
from tests.system.installation import Installation
from tests.system.schedule import make_plan, make_plan_of_one


def test_a_schedule_of_faults(pair: Installation) -> None:
    plan = make_plan(
        chaos.seed(101), STORE_KINDS, faults=len(STORE_KINDS), every_s=2.0, inputs=1_500, launches=2 * len(STORE_KINDS)
    )
    report = chaos.unleash(plan, pair)
    print(report)
    assert report.wrong == []
    assert {effect.fault.kind for effect in report.effects} == set(STORE_KINDS)


@pytest.mark.long
@pytest.mark.parametrize("kind", STORE_KINDS, ids=lambda kind: kind.name)
def test_one_fault(pair: Installation, kind: Kind) -> None:
    report = chaos.unleash(make_plan_of_one(kind, kind.victims[0]), pair, quiet_s=1.0)
    print(report)
    assert report.wrong == []
