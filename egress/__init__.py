"""Outgoing HTTP that cannot be turned against our own network. Knows no app and no settings.

`Client(policy).fetch(...)` keeps connections, `fetch(..., policy=...)` is a one-off. Both raise an `EgressError`.
"""

from egress.answer import Answer
from egress.client import Client, fetch
from egress.errors import (
    BadAnswer,
    BadRequest,
    BadUrl,
    ConnectFailed,
    DnsFailed,
    EgressError,
    RefusedAddress,
    TimedOut,
    TlsFailed,
    TooLarge,
    TooManyRedirects,
)
from egress.policy import Policy

__all__ = [
    "Answer",
    "BadAnswer",
    "BadRequest",
    "BadUrl",
    "Client",
    "ConnectFailed",
    "DnsFailed",
    "EgressError",
    "Policy",
    "RefusedAddress",
    "TimedOut",
    "TlsFailed",
    "TooLarge",
    "TooManyRedirects",
    "fetch",
]
