"""When a callback that failed is sent again (contract, section 3)."""

from __future__ import annotations

import random
import re
from datetime import datetime

from django.conf import settings
from django.utils.http import parse_http_date_safe

MINUTE_S, HOUR_S = 60, 3600
DELAYS_S = (5, 30, 5 * MINUTE_S, 30 * MINUTE_S, *(hours * HOUR_S for hours in (2, 5, 10, 14, 20)))
"""After the first attempt, the second, and so on; after the one behind the last of these nothing more is tried."""

JITTER = 0.1  # so that what failed together does not come back together
MAX_RETRY_AFTER_S = 24 * HOUR_S
_SECONDS = re.compile(r"-?[0-9]+", re.ASCII)


def delay_s(attempts: int, *, retry_after_s: float | None = None) -> float | None:
    """Return the seconds until the next attempt when so many were made and failed; None when those were all.

    No less than the receiver asked for.
    """
    if attempts > len(DELAYS_S):
        return None
    wanted = DELAYS_S[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return scaled(max(wanted, retry_after_s or 0.0))


def scaled(seconds: float) -> float:
    """Return a delay as this installation has it: RUNYARD_CALLBACK_RETRY_SCALE multiplies every one."""
    return seconds * settings.RUNYARD_CALLBACK_RETRY_SCALE


def retry_after_s(header: str | None, *, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, from 0 to 24 hours; None where it says nothing.

    Seconds, or a date in any of the three forms of RFC 9110, sections 5.6.7 and 10.2.3.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text[:20])  # so many digits are over any limit
    elif (date := parse_http_date_safe(text)) is not None:
        seconds = date - now.timestamp()
    else:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
