"""The bodies of callbacks: packed together when they are made, and read when they are sent."""

from __future__ import annotations

from collections.abc import Iterable

from isal import isal_zlib

LEVEL = 1  # higher ones cost more time than the bytes they save


def pack(bodies: Iterable[bytes]) -> bytes:
    """Return bodies, each JSON in one line, as the bytes of a row."""
    return isal_zlib.compress(b"\n".join(bodies), LEVEL)


def unpack(packed: bytes | memoryview) -> list[bytes]:
    """Return what `pack` was given, which was at least one."""
    return isal_zlib.decompress(packed).split(b"\n")
