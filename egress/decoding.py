"""Taking compressed bodies apart, a piece at a time, never more than was asked for."""

from __future__ import annotations

import zlib

from egress.errors import BadAnswer

OFFERED = "gzip, deflate"
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"


class Decoder:
    """A body as it came."""

    def feed(self, piece: bytes, max_bytes: int) -> bytes:
        """Return what a piece of the body stands for, or at least the first `max_bytes` of it."""
        return piece

    def finish(self) -> None:
        """Raise BadAnswer if the body is not at its end."""


class Inflater(Decoder):
    """A body in gzip or deflate (RFC 9110, section 8.4.1)."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._stream = zlib.decompressobj(wbits)
        self._has_begun = False

    def feed(self, piece: bytes, max_bytes: int) -> bytes:
        inflated = bytearray()
        while piece and len(inflated) < max_bytes:
            if self._stream.eof:
                if self._wbits != _GZIP or not piece.startswith(_GZIP_MAGIC):
                    break  # padding behind the end, which others pass over too
                self._stream = zlib.decompressobj(_GZIP)
            inflated += self._inflate(piece, max_bytes - len(inflated))
            piece = self._stream.unused_data
        return bytes(inflated)

    def _inflate(self, piece: bytes, max_bytes: int) -> bytes:
        try:
            inflated = self._stream.decompress(piece, max_bytes)
        except zlib.error:
            if self._has_begun or self._wbits != _ZLIB:
                raise BadAnswer("The answer's body is not compressed as its Content-Encoding says.") from None
            # What RFC 9110 calls deflate has a header of two bytes; some servers leave it out.
            self._wbits, self._stream = _RAW, zlib.decompressobj(_RAW)
            self._has_begun = True
            return self._inflate(piece, max_bytes)
        self._has_begun = True
        return inflated

    def finish(self) -> None:
        if self._has_begun and not self._stream.eof:
            raise BadAnswer("The answer's compressed body broke off.")


def decoder_for(content_encoding: str) -> Decoder:
    """Return what undoes a Content-Encoding; raises BadAnswer for one that we do not offer."""
    match content_encoding.strip().lower():
        case "" | "identity":
            return Decoder()
        case "gzip" | "x-gzip":
            return Inflater(_GZIP)
        case "deflate":
            return Inflater(_ZLIB)
    raise BadAnswer(f"The answer's body is encoded as {content_encoding[:40]!r}, which was not offered.")
