"""Rounds: each contestant once in each, in an order that turns, so that what else a machine does hits all alike."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping

Measured = dict[str, list[float]]


def interleave(contestants: Mapping[str, Callable[[], float]], *, rounds: int) -> Measured:
    """Measure each contestant once a round and return each one's figures, in the order of the rounds.

    A contestant does its work and returns one figure (its own clock leaves out what it prepares).
    """
    measured: Measured = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        for name in names:
            measured[name].append(contestants[name]())
            print(f"  round {number + 1} of {rounds}: {name}: {shown(measured[name][-1])}", file=sys.stderr, flush=True)
        names = names[1:] + names[:1]
    return measured


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Return ours / theirs as text: the median of the rounds' ratios, and the lowest and highest of them."""
    each = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{shown(statistics.median(each))} ({shown(min(each))} to {shown(max(each))})"


def spread(values: list[float]) -> str:
    """Return the lowest and the highest, as text."""
    return f"{shown(min(values))} to {shown(max(values))}"


def shown(value: float) -> str:
    """Return a figure with about three digits that say something."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or not size else 3 if size >= 0.01 else 4
    return f"{value:,.{digits}f}"
