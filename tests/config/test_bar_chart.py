"""Bars of the overview: as high as what they stand for, and nothing that is there is invisible."""

from __future__ import annotations

import itertools

import pytest

from config.bar_chart import HEIGHT, WIDTH, bar_chart


def test_the_highest_bar_fills_the_picture():
    chart = bar_chart([("a", {"good": 30, "bad": 10}), ("b", {"good": 20, "bad": 0})])
    first, second = chart.bars
    assert chart.highest == 40
    assert [(part.kind, part.y, part.height) for part in first.parts] == [
        ("good", HEIGHT * 0.25, HEIGHT * 0.75),
        ("bad", 0, HEIGHT * 0.25),
    ]
    assert [(part.kind, part.height) for part in second.parts] == [("good", HEIGHT / 2)]


def test_bars_stand_side_by_side_over_the_whole_width():
    bars = bar_chart([(str(number), {"good": 1}) for number in range(60)]).bars
    assert bars[0].x > 0
    assert bars[-1].x + bars[-1].width < WIDTH
    assert all(one.x + one.width < other.x for one, other in itertools.pairwise(bars))


def test_little_beside_much_is_seen():
    _, little = bar_chart([("much", {"good": 1_000_000}), ("little", {"bad": 1})]).bars
    assert little.parts[0].height >= 1


@pytest.mark.parametrize("values", [[], [("none", {"good": 0, "bad": 0})]])
def test_nothing_is_no_error(values):
    chart = bar_chart(values)
    assert chart.highest == 0
    assert not any(bar.parts for bar in chart.bars)
