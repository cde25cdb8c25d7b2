"""Outgoing HTTP that cannot be turned against our own network. Knows no app and no settings.

`Client(policy).fetch(...)` keeps connections, `fetch(..., policy=...)` is a one-off. Both raise an `EgressError`.
`check_header` says before what they would say of a header.
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
from egress.request import check_header
from egress.urls import MAX_URL_LENGTH

__all__ = [
    "MAX_URL_LENGTH",
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
    "check_header",
    "fetch",
]
