"""What can go wrong with an outgoing request: one class for each thing a caller can act on."""

from __future__ import annotations

from typing import ClassVar


class EgressError(Exception):
    """A request that got no answer. `code` is stable and `message` is for people; neither holds a header or a body.

    `status` is that of an answer which began and did not come to its end.
    """

    code: ClassVar[str] = "EGRESS_FAILED"
    status: int | None = None

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class BadUrl(EgressError):
    """The URL cannot be called: malformed, of another scheme, or with a user and password in it."""

    code = "BAD_URL"


class BadRequest(EgressError):
    """The method or a header cannot be sent."""

    code = "BAD_REQUEST"


class RefusedAddress(EgressError):
    """The host is, or resolves to, an address that may not be called."""

    code = "REFUSED_ADDRESS"


class DnsFailed(EgressError):
    """The host's name has no address, or the name servers did not say."""

    code = "DNS_FAILED"


class ConnectFailed(EgressError):
    """Nobody took the connection."""

    code = "CONNECT_FAILED"


class TlsFailed(EgressError):
    """The other side did not prove to be the host, or no encryption could be agreed on."""

    code = "TLS_FAILED"


class TimedOut(EgressError):
    """The answer was not there, wholly, within the time limit."""

    code = "TIMED_OUT"


class TooLarge(EgressError):
    """The answer has more bytes than are taken, as sent or once decompressed."""

    code = "TOO_LARGE"


class TooManyRedirects(EgressError):
    """The answer led on more often than it was to be followed."""

    code = "TOO_MANY_REDIRECTS"


class BadAnswer(EgressError):
    """The answer is not HTTP, broke off, or is not encoded as it says."""

    code = "BAD_ANSWER"
