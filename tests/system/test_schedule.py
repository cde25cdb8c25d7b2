"""What the seed of chaos decides. What comes of it is tested in test_chaos."""

from __future__ import annotations

from runs import execution
from tests.system import report
from tests.system.faults import PROCESS_KINDS, STORE_KINDS
from tests.system.schedule import LARGE_RUNS, Plan, make_plan

KINDS = PROCESS_KINDS + STORE_KINDS


def plan(seed: int) -> Plan:
    return make_plan(seed, KINDS, faults=100, every_s=2.0, inputs=20_000, launches=200)


def test_the_seed_decides_everything() -> None:
    assert plan(5) == plan(5)
    assert plan(5).faults != plan(6).faults
    assert plan(5).launches != plan(6).launches


def test_every_kind_comes_as_often_as_the_others() -> None:
    kinds = [fault.kind for fault in plan(7).faults]
    assert len(kinds) == 100
    assert {kinds.count(kind) for kind in KINDS} == {100 // len(KINDS), 100 // len(KINDS) + 1}


def test_nobody_is_hit_before_he_has_had_the_time_to_get_up() -> None:
    free_at: dict[str, float] = {}
    for fault in sorted(plan(8).faults, key=lambda fault: fault.at_s):
        assert fault.at_s >= free_at.get(fault.victim, 0.0)
        free_at[fault.victim] = fault.at_s + fault.kind.rest_s


def test_the_inputs_are_shared_out() -> None:
    launches = plan(9).launches
    assert sum(launch.count for launch in launches) == 20_000
    assert len(launches) == 200 + LARGE_RUNS
    assert [launch.at_s for launch in launches] == sorted(launch.at_s for launch in launches)


def test_what_may_be_in_flight_is_what_the_engine_says() -> None:
    assert report.CHECKPOINT_S == execution.CHECKPOINT_S
