"""Bars over time as the numbers of an SVG: stacked, each as high as it is of the highest.

The page draws them without a script, in the colours of its style sheet, and in words for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, GAP = 600, 120, 0.2


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: `kind` names its colour."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, with what it says to who points at it."""

    x: float
    width: float
    parts: tuple[Part, ...]
    title: str


@dataclass(frozen=True, slots=True)
class BarChart:
    """All bars from left to right; `highest` is the value at the top of the picture."""

    bars: tuple[Bar, ...]
    highest: int
    width: int = WIDTH
    height: int = HEIGHT


def bar_chart(values: Sequence[tuple[str, dict[str, int]]]) -> BarChart:
    """Return the chart of `values`: for each bar its title, and its parts from the bottom up, by kind."""
    highest = max((sum(parts.values()) for _, parts in values), default=0)
    pitch = WIDTH / max(len(values), 1)
    bars = [
        Bar(round(number * pitch + pitch * GAP / 2, 2), round(pitch * (1 - GAP), 2), _stack(parts, highest), title)
        for number, (title, parts) in enumerate(values)
    ]
    return BarChart(tuple(bars), highest)


def _stack(parts: dict[str, int], highest: int) -> tuple[Part, ...]:
    stacked, top = [], float(HEIGHT)
    for kind, value in parts.items():
        if value:
            height = max(value / highest * HEIGHT, 1.0)  # what there is can be seen
            top -= height
            stacked.append(Part(kind, round(max(top, 0.0), 2), round(height, 2)))
    return tuple(stacked)
