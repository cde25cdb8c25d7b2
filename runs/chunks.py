"""How some hundred inputs or results become the bytes of one row, and back.

Lines of JSON, compressed: a value is found by its line number without parsing its neighbours, and a stream of all
of them is the lines as they are. The format is zlib's (RFC 1950); ISA-L writes it at several times the speed of zlib
and as small. Level 1 is the knee: higher levels cost more time than the bytes they save.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isal import isal_zlib
from pydantic_core import from_json, to_json

LEVEL = 1


def pack_lines(lines: Iterable[bytes]) -> bytes:
    """Return JSON values, one a line (so none of them holds a line break), as the bytes of a row."""
    return isal_zlib.compress(b"\n".join(lines), LEVEL)


def unpack_lines(packed: bytes | memoryview) -> list[bytes]:
    """Return what `pack_lines` was given. Not for an empty pack: that reads as one empty line."""
    return isal_zlib.decompress(packed).split(b"\n")


def pack_json(value: Any) -> bytes:
    """Return a JSON value as the bytes of a row."""
    return isal_zlib.compress(to_json(value), LEVEL)


def unpack_json(packed: bytes | memoryview) -> Any:
    """Return what `pack_json` was given. Object keys come back as text."""
    return from_json(isal_zlib.decompress(packed))


class DoneBits:
    """Which inputs of a batch have a result: bit n of byte n // 8, lowest first."""

    __slots__ = ("_bits", "size")

    def __init__(self, size: int, packed: bytes | memoryview = b"") -> None:
        self.size = size
        self._bits = bytearray(packed) if packed else bytearray((size + 7) // 8)

    @classmethod
    def of_invalid(cls, size: int, invalid: bytes | memoryview | None) -> DoneBits:
        """Return what is done of a chunk at the launch: its invalid inputs, whose errors `InputChunk.invalid` has."""
        done = cls(size)
        for offset in unpack_json(invalid) if invalid else ():
            done.add(int(offset))
        return done

    def __contains__(self, offset: int) -> bool:
        return bool(self._bits[offset >> 3] & 1 << (offset & 7))

    def add(self, offset: int) -> None:
        self._bits[offset >> 3] |= 1 << (offset & 7)

    def discard(self, offset: int) -> None:
        self._bits[offset >> 3] &= ~(1 << (offset & 7))

    def missing(self) -> list[int]:
        """Return the offsets without a result, in order."""
        if not any(self._bits):
            return list(range(self.size))
        return [offset for offset in range(self.size) if offset not in self]

    def count(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def packed(self) -> bytes:
        return bytes(self._bits)
