from __future__ import annotations

import json

from devstack.silence import SilenceWatch


def health(*, runs: float | None = 1.0, beat: float | None = 1.0, broker: bool = True) -> str:
    sign = {"ok": True, "count": 1}
    return json.dumps(
        {
            "broker": {"ok": broker},
            "workers": {"runs": sign | {"age_s": runs}, "system": sign | {"age_s": 0.5}},
            "beat": sign | {"age_s": beat},
        }
    )


def test_the_silent_are_replaced_at_the_second_look() -> None:
    watch = SilenceWatch()
    assert watch.to_replace(200, health(runs=61.0)) == []
    assert watch.to_replace(200, health(runs=71.0, beat=61.0)) == ["worker-runs"]
    assert watch.to_replace(200, health(runs=81.0, beat=71.0)) == ["beat"]


def test_a_sign_of_life_clears() -> None:
    watch = SilenceWatch()
    watch.to_replace(200, health(runs=61.0))
    assert watch.to_replace(200, health()) == []
    assert watch.to_replace(200, health(runs=61.0)) == []


def test_nobody_is_judged_without_broker_database_or_first_sign() -> None:
    for status, body in [(200, health(runs=99.0, broker=False)), (503, ""), (0, "refused"), (200, health(runs=None))]:
        watch = SilenceWatch()
        assert [watch.to_replace(status, body), watch.to_replace(status, body)] == [[], []]
