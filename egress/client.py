"""Sending a request and reading its answer."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace

import urllib3
from urllib3.response import HTTPResponse

from egress import redirects
from egress.answer import Answer
from egress.connecting import connect
from egress.connections import Connection, open_on
from egress.deadline import Deadline
from egress.decoding import Decoder, decoder_for
from egress.errors import BadAnswer, EgressError, TooLarge, TooManyRedirects
from egress.kept import KeptConnections
from egress.policy import Policy
from egress.request import Headers, Request, check_request
from egress.resolver import Resolve
from egress.resolver import resolve as resolve_by_system
from egress.urls import Target, check_url

PIECE_BYTES = 16 * 1024
MAX_REDIRECT_BODY_BYTES = 16 * 1024
"""Read of an answer that leads on, so that its connection can be kept."""

_IN_ONE_LINE = str.maketrans("\0\r\n", "   ")
_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(frozen=True)
class _Take:
    """How much of an answer's body is taken, and how."""

    max_bytes: int
    truncate: bool
    decompress: bool
    passes_redirects: bool = False


class _NoAnswer(BadAnswer):
    """A connection that was closed before the first byte of an answer."""


class Client:
    """Requests under one policy, over connections that are kept. Threads may share it, and it may be forked.

    `resolve` finds the addresses of names, `tls` says whom to trust; both have defaults.
    """

    def __init__(
        self, policy: Policy, *, resolve: Resolve = resolve_by_system, tls: ssl.SSLContext | None = None
    ) -> None:
        self.policy = policy
        self._resolve = resolve
        self._tls = tls
        self._connections, self._process = KeptConnections(), os.getpid()

    def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        timeout_s: float,
        max_bytes: int,
        truncate: bool = False,
        max_redirects: int = 0,
        decompress: bool = True,
        may_repeat: bool = False,
    ) -> Answer:
        """Send a request and return the answer, whatever its status (contract, section 3).

        `timeout_s` is for everything together, redirects included. Of the body at most `max_bytes` are taken, as sent
        and once decompressed; with `truncate` the rest is left, else more is TooLarge. Without `max_redirects` an
        answer that leads on is returned as it is. With `may_repeat` any method is sent again, as idempotent ones are,
        when a kept connection closed without an answer: the receiver knows doubles. Raises one of the EgressErrors.
        """
        request = check_request(method, headers, body, decompress=decompress, may_repeat=may_repeat)
        target = check_url(url, self.policy)
        take = _Take(max_bytes, truncate, decompress, passes_redirects=max_redirects > 0)
        passed: list[str] = []
        with Deadline(timeout_s) as deadline:
            while True:
                answer = self._send(request, target, deadline, take)
                location = redirects.location(target, answer) if max_redirects else None
                if location is None:
                    return replace(answer, redirects=tuple(passed)) if passed else answer
                if len(passed) == max_redirects:
                    raise TooManyRedirects(f"The answer leads on after {max_redirects} redirects.")
                passed.append(target.url)
                before, target = target, self._check_hop(location)
                request = redirects.follow(request, answer.status, before=before, after=target)

    def close(self) -> None:
        """Close the kept connections. The client can be used again."""
        self._kept.close()

    def _check_hop(self, url: str) -> Target:
        try:
            return check_url(url, self.policy)
        except EgressError as error:
            raise type(error)(f"After a redirect: {error.message}") from None

    @property
    def _kept(self) -> KeptConnections:
        if self._process != os.getpid():
            # The parent speaks on those, and its threads may have held their lock.
            self._connections, self._process = KeptConnections(), os.getpid()
        return self._connections

    def _send(self, request: Request, target: Target, deadline: Deadline, take: _Take) -> Answer:
        if (kept := self._kept.take(target.origin)) is not None:
            try:
                return self._exchange(kept, request, target, deadline, take)
            except _NoAnswer:
                # The server closed it while the request was on its way, or after having acted on it.
                if not request.may_be_repeated:
                    raise
        return self._exchange(self._open(target, deadline), request, target, deadline, take)

    def _open(self, target: Target, deadline: Deadline) -> Connection:
        connected = connect(target, self.policy, resolve=self._resolve, deadline=deadline)
        return open_on(connected, target, self._tls, deadline)

    def _exchange(
        self, connection: Connection, request: Request, target: Target, deadline: Deadline, take: _Take
    ) -> Answer:
        is_reusable = False
        try:
            with _failures_told(target, deadline):
                deadline.guard(connection.sock)
                with closing(_ask(connection, request, target, deadline)) as response:
                    if take.passes_redirects and response.get_redirect_location():
                        take = _Take(MAX_REDIRECT_BODY_BYTES, truncate=True, decompress=False)
                    body, is_truncated = _read(response, deadline, take)
            is_reusable = not (is_truncated or connection.is_closed or request.is_for_its_connection)
        finally:
            if is_reusable:
                self._kept.keep(connection)
            else:
                connection.close()
        return Answer(
            status=response.status,
            reason=_in_one_line(response.reason or ""),
            headers=[(name, _in_one_line(value)) for name, value in response.headers.iteritems()],
            body=body,
            truncated=is_truncated,
            url=target.url,
        )


def fetch(
    method: str,
    url: str,
    *,
    policy: Policy,
    headers: Headers = (),
    body: bytes = b"",
    timeout_s: float,
    max_bytes: int,
    truncate: bool = False,
    max_redirects: int = 0,
    decompress: bool = True,
) -> Answer:
    """Do as `Client.fetch`, over connections that are not kept."""
    with closing(Client(policy)) as client:
        return client.fetch(
            method,
            url,
            headers=headers,
            body=body,
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            truncate=truncate,
            max_redirects=max_redirects,
            decompress=decompress,
        )


def _ask(connection: Connection, request: Request, target: Target, deadline: Deadline) -> HTTPResponse:
    """Send the request and return its answer, of which the body is still to be read."""
    headers = urllib3.HTTPHeaderDict()
    for name, value in request.headers:
        headers.add(name, value)
    connection.timeout = deadline.remaining_s()
    with suppress(*_CLOSED):  # a server may answer before it has taken the whole body, and close
        connection.request(
            request.method, target.path, request.body or None, headers, preload_content=False, decode_content=False
        )
    try:
        response = connection.getresponse()
    except _CLOSED as error:
        deadline.remaining_s()
        raise _NoAnswer(f"{target.host} closed the connection without an answer.") from error
    if response.status < 200 or response.headers.get("transfer-encoding", "chunked").lower() != "chunked":
        raise BadAnswer(f"{target.host} answered with something that was not asked for.")
    return response


def _read(response: HTTPResponse, deadline: Deadline, take: _Take) -> tuple[bytes, bool]:
    """Return the body, and whether there is more of it than may be taken."""
    if not take.truncate and (response.length_remaining or 0) > take.max_bytes:
        raise TooLarge(f"The answer's body has {response.length_remaining} bytes, more than {take.max_bytes}.")
    decoder: Decoder | None = None
    body, read, is_whole = bytearray(), 0, False
    while read <= take.max_bytes and len(body) <= take.max_bytes:
        if is_whole:
            if decoder is not None:
                decoder.finish()
            return bytes(body), False
        piece = response.read(min(PIECE_BYTES, take.max_bytes + 1 - read))
        deadline.remaining_s()  # what the shutdown ended looks like the end of a body
        is_whole = not piece or response.length_remaining == 0
        if not piece:
            continue
        if decoder is None:
            decoder = decoder_for(response.headers.get("content-encoding", "") if take.decompress else "")
        read += len(piece)
        body += decoder.feed(piece, take.max_bytes + 1 - len(body))
    if not take.truncate:
        raise TooLarge(f"The answer's body has more than {take.max_bytes} bytes.")
    return bytes(body[: take.max_bytes]), True


@contextmanager
def _failures_told(target: Target, deadline: Deadline) -> Iterator[None]:
    """Turn what urllib3 and http.client raise into errors of ours, without what the server sent."""
    try:
        yield
    except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError) as error:
        deadline.remaining_s()
        if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
            raise deadline.passed() from error
        if isinstance(error, OSError | urllib3.exceptions.ProtocolError):
            raise BadAnswer(f"The answer of {target.host} broke off.") from error
        raise BadAnswer(f"What {target.host} answered is not HTTP.") from error


def _in_one_line(text: str) -> str:
    """Return a header's value without what it may not hold (RFC 9110, section 5.5): those characters become spaces."""
    return text.translate(_IN_ONE_LINE)
