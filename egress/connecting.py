"""From a target to a connected socket: its addresses found once, checked, and exactly one of them connected to."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import ip_address
from itertools import chain, zip_longest

from egress.addresses import Address, is_refused, reason
from egress.deadline import Deadline
from egress.errors import ConnectFailed, DnsFailed, RefusedAddress
from egress.policy import Policy
from egress.resolver import Resolve
from egress.urls import Target

MAX_ATTEMPTS = 8
ATTEMPT_S = 3.0
"""For each address but the last: long enough for a lost packet to be sent again, short enough to reach the next."""


def addresses_of(target: Target, policy: Policy, *, resolve: Resolve, timeout_s: float) -> list[Address]:
    """Return the addresses of a target in the order to try them.

    Raises RefusedAddress if any of them may not be called: which one is connected to would be for chance, or for
    whoever answers for the name, to say. Also what `resolve` raises.
    """
    found = [target.address] if target.address else resolve(target.host, target.port, timeout_s=timeout_s)
    if not found:
        raise DnsFailed(f"{target.host} has no address.")
    for address in found:
        if why := reason(address, policy.allow_private):
            # Without the address: what names mean inside our network is not for callers to learn.
            raise RefusedAddress(f"{target.host} may not be called: an address of it is {why}.")
    return _families_in_turn(found)[:MAX_ATTEMPTS]


def connect(target: Target, policy: Policy, *, resolve: Resolve, deadline: Deadline) -> socket.socket:
    """Return a socket connected to one of the target's addresses, under guard of the deadline.

    Raises RefusedAddress, DnsFailed, ConnectFailed or TimedOut.
    """
    addresses = addresses_of(target, policy, resolve=resolve, timeout_s=deadline.remaining_s())
    failure = ""
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        remaining_s = deadline.remaining_s()
        attempt_s = remaining_s if left == 1 else min(ATTEMPT_S, remaining_s / left)
        try:
            with contextlib.ExitStack() as undo:
                connected = _connect(address, target.port, attempt_s)
                undo.callback(connected.close)
                deadline.guard(connected)
                _check_peer(connected, address, target, policy)
                undo.pop_all()
                return connected
        except OSError as error:
            failure = error.strerror or str(error)
    deadline.remaining_s()
    raise ConnectFailed(f"{target.host} does not take connections on port {target.port}: {failure}.")


def _connect(address: Address, port: int, timeout_s: float) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(timeout_s)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.connect((str(address), port))
    except BaseException:
        opened.close()
        raise
    return opened


def _check_peer(connected: socket.socket, address: Address, target: Target, policy: Policy) -> None:
    """Check whom we reached: the address meant, and not this machine by an address that the deny list cannot know."""
    peer, own = ip_address(connected.getpeername()[0]), ip_address(connected.getsockname()[0])
    if peer != address or is_refused(peer, policy.allow_private):
        raise RefusedAddress(f"{target.host} may not be called: the connection led to another address.")
    if peer == own and not policy.allow_private:
        raise RefusedAddress(f"{target.host} may not be called: it is this machine.")


def _families_in_turn(addresses: list[Address]) -> list[Address]:
    """Return the addresses with IPv6 and IPv4 in turn (RFC 8305, section 4), so that one being down costs little."""
    first = [address for address in addresses if address.version == addresses[0].version]
    second = [address for address in addresses if address.version != addresses[0].version]
    return [address for address in chain.from_iterable(zip_longest(first, second)) if address is not None]
