"""How much of an action may run: what its code says, lowered by what staff have set."""

from __future__ import annotations

import re
from dataclasses import dataclass

RATE_PATTERN = "([1-9][0-9]{0,8})/([smhd])"
RATE = re.compile(RATE_PATTERN, re.ASCII)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an action (contract sections 1 and 7); None is no limit.

    `timeout_s` and `max_attempts` are for one input; `concurrency` is for one batch; `max_concurrency` (batches at
    once) and `rate` (inputs, such as "600/m") are for the whole installation.
    """

    timeout_s: float
    max_attempts: int
    concurrency: int
    max_concurrency: int | None
    rate: str | None


def per_second(rate: str) -> float:
    """Return how many a second `rate` allows: "600/m" is 10.0.

    Raises:
        ValueError: it is not a count and one of `/s`, `/m`, `/h`, `/d`.
    """
    count, period_s = count_and_period(rate)
    return count / period_s


def count_and_period(rate: str) -> tuple[int, int]:
    """Return how many inputs `rate` allows in how many seconds: "600/m" is (600, 60).

    Raises:
        ValueError: it is not a count and one of `/s`, `/m`, `/h`, `/d`.
    """
    match = RATE.fullmatch(rate)
    if not match:
        raise ValueError(f"a rate is a count and a unit, such as '600/m' (units: s, m, h, d), not {rate!r}")
    return int(match[1]), SECONDS[match[2]]
