"""What happens when, decided by a seed: faults to bring about, and runs to launch meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.system.callers import Launch
from tests.system.faults import Kind

LARGE_RUNS, SMALL = 3, 12
AFTER_S = 3.0  # there are launches for so long after the last fault, which tell when things work again


@dataclass(frozen=True)
class Fault:
    """What is done to whom, so many seconds after the beginning."""

    at_s: float
    kind: Kind
    victim: str
    number: int


@dataclass(frozen=True)
class Plan:
    """All that the seed decides."""

    seed: int
    faults: tuple[Fault, ...]
    launches: tuple[Launch, ...]


def make_plan(seed: int, kinds: Sequence[Kind], *, faults: int, every_s: float, inputs: int, launches: int) -> Plan:
    """Return a schedule of `faults`, each kind as often as the others, and of launches of `inputs` in all.

    Small runs come all the time, and tell when things work again; a few large ones keep the workers at work.
    """
    chance = random.Random(seed)
    schedule = tuple(_schedule(chance, kinds, faults, every_s))
    until_s = max(fault.at_s for fault in schedule) + AFTER_S
    small = [Launch(place * until_s / launches, chance.randint(1, SMALL)) for place in range(launches)]
    left, large = inputs - sum(one.count for one in small), []
    for place in range(LARGE_RUNS):
        large.append(Launch(place * until_s / LARGE_RUNS, count := left // (LARGE_RUNS - place)))
        left -= count
    return Plan(seed, schedule, tuple(sorted([*large, *small], key=lambda launch: launch.at_s)))


def make_plan_of_one(kind: Kind, victim: str) -> Plan:
    """Return the plan of one fault in the middle of a run, and of small runs launched all the while."""
    small = [Launch(place / 2, 1) for place in range(2 * int(kind.rest_s + AFTER_S))]
    return Plan(0, (Fault(1.0, kind, victim, 0),), (Launch(0.0, 600), *small))


def _schedule(chance: random.Random, kinds: Sequence[Kind], count: int, every_s: float) -> Iterator[Fault]:
    """Yield faults; nobody is hit again before he has had the time to get up."""
    free_at: dict[str, float] = {}
    waiting: list[Kind] = []
    for place in range(count):
        waiting = waiting or chance.sample(kinds, len(kinds))
        at_s = every_s * (place + chance.random() / 2)
        choices = [(kind, victim) for kind in waiting for victim in chance.sample(kind.victims, len(kind.victims))]
        # The first whose victim is up again by then, or will be soonest.
        kind, victim = min(choices, key=lambda one: max(free_at.get(one[1], 0.0), at_s))
        at_s = max(free_at.get(victim, 0.0), at_s)
        waiting.remove(kind)
        free_at[victim] = at_s + kind.rest_s
        yield Fault(at_s, kind, victim, chance.randrange(1_000))
