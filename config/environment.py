"""Reading environment variables: one that is empty is absent, and what cannot be is refused by name.

Everything here raises ImproperlyConfigured with a message that names the variable.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured

TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off")
OFF = "off"
RATE = re.compile("[1-9][0-9]{0,8}/[smhd]", re.ASCII)


def required(name: str, why: str) -> str:
    """Return a variable that has no default; `why` ends the message where it is not set."""
    value = os.environ.get(name, "")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set: {why}")
    return value


def at_least(name: str, default: int, minimum: int = 1) -> int:
    """Return a whole number that is not below `minimum`."""
    return between(name, default, minimum, None)


def at_least_or_off(name: str, default: int | str, minimum: int = 1) -> int | None:
    """Return a whole number that is not below `minimum`; None where the variable says `off`."""
    text = os.environ.get(name) or str(default)
    if text.lower() == OFF:
        return None
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if value < minimum:
        raise ImproperlyConfigured(f"{name} must be a whole number from {minimum} on, or {OFF}, not {text!r}")
    return value


def between(name: str, default: int, minimum: int, maximum: int | None) -> int:
    """Return a whole number from `minimum` to `maximum`, both included."""
    text = os.environ.get(name) or str(default)
    try:
        value = int(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {text!r}") from None
    if value < minimum:
        raise ImproperlyConfigured(f"{name} must be at least {minimum}, not {value}")
    if maximum is not None and value > maximum:
        raise ImproperlyConfigured(f"{name} must be at most {maximum}, not {value}")
    return value


def factor(name: str, default: float) -> float:
    """Return a number above 0 that others are multiplied by."""
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ImproperlyConfigured(f"{name} must be a number above 0, not {text!r}")
    return value


def web_threads() -> int:
    """Return the threads of each web process, half of which may wait for live calls."""
    return at_least("RUNYARD_WEB_THREADS", 100)


def worker_stop_s() -> int:
    """Return the seconds that a worker which is told to stop gives what it has in hand."""
    return at_least("RUNYARD_WORKER_STOP_SECONDS", 5)


def flag(name: str, default: bool) -> bool:
    """Return whether something is on: true, 1, yes and on say so, false, 0, no and off say not, in either case."""
    text = os.environ.get(name) or str(default)
    if text.lower() not in (*TRUE, *FALSE):
        raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}")
    return text.lower() in TRUE


def one_of(name: str, default: str, choices: Sequence[str]) -> str:
    """Return one of `choices`, as it is written there, whatever the case of the variable's letters."""
    text = os.environ.get(name) or default
    for choice in choices:
        if choice.lower() == text.lower():
            return choice
    raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {text!r}")


def rate(name: str, default: str) -> str | None:
    """Return a count and what it is for, one of `/s`, `/m`, `/h` and `/d`; None where the variable says `off`."""
    text = os.environ.get(name) or default
    if text.lower() == OFF:
        return None
    if not RATE.fullmatch(text):
        raise ImproperlyConfigured(f"{name} must be a count for s, m, h or d, such as {default}, or off, not {text!r}")
    return text
