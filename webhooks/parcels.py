"""A claimed callback with all that it takes to send it, read for many at once.

Where a launch's callbacks go and what their bodies are never changes, so both are kept in memory for those that come
next. The secrets are read with each claim: they may have been rotated.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from webhooks import bodies, signing
from webhooks.dispatch import Claim
from webhooks.models import BodyPack, Destination
from webhooks.signing import Secrets

KEPT_BODY_BYTES = 32 * 1024 * 1024
KEPT_DESTINATIONS = 1_000

Value = TypeVar("Value")
Address = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent, and where to. URL, headers and body may hold secrets, and are not shown."""

    claim: Claim
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    secrets: Secrets = field(repr=False)


class Kept(Generic[Value]):
    """Values by id, those used last, of a total size."""

    def __init__(self, size: int, size_of: Callable[[Value], int]) -> None:
        self._left, self._size_of = size, size_of
        self._values: OrderedDict[int, Value] = OrderedDict()

    def get(self, ids: Collection[int], read: Callable[[Collection[int]], Mapping[int, Value]]) -> dict[int, Value]:
        """Return the values of some ids; `read` returns those that are not here, as far as they exist."""
        found = {key: self._values[key] for key in ids if key in self._values}
        for key in found:
            self._values.move_to_end(key)
        if missing := set(ids) - set(found):
            for key, value in read(missing).items():
                found[key] = self._values[key] = value
                self._left -= self._size_of(value)
            while self._left < 0 and len(self._values) > 1:
                self._left += self._size_of(self._values.popitem(last=False)[1])
        return found


class Reader:
    """Reads parcels. For one thread."""

    def __init__(self) -> None:
        self._bodies: Kept[list[bytes]] = Kept(KEPT_BODY_BYTES, lambda pack: sum(map(len, pack)))
        self._addresses: Kept[Address] = Kept(KEPT_DESTINATIONS, lambda _: 1)

    def read(self, claims: Sequence[Claim], *, now: datetime) -> list[Parcel]:
        """Return the parcels of claims, but of callbacks that were deleted meanwhile."""
        packs = self._bodies.get({claim.body_pack_id for claim in claims}, _read_bodies)
        addresses = self._addresses.get({claim.destination_id for claim in claims}, _read_addresses)
        secrets = {key: signing.secrets_of(key, now=now) for key in {claim.workspace_id for claim in claims}}
        return [
            Parcel(
                claim,
                *addresses[claim.destination_id],
                packs[claim.body_pack_id][claim.body_position],
                secrets[claim.workspace_id],
            )
            for claim in claims
            if claim.body_pack_id in packs and claim.destination_id in addresses
        ]


def _read_bodies(ids: Collection[int]) -> dict[int, list[bytes]]:
    return {pack.pk: bodies.unpack(pack.bodies) for pack in BodyPack.objects.filter(pk__in=ids)}


def _read_addresses(ids: Collection[int]) -> dict[int, Address]:
    rows = Destination.objects.filter(pk__in=ids).values_list("pk", "url", "headers")
    return {key: (url, tuple((name, value) for name, value in headers)) for key, url, headers in rows}
