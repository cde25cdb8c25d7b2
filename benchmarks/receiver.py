"""A receiver that takes its time, cheaply: `python -m benchmarks.receiver PORT MILLISECONDS`.

It answers every POST with 200 after so many milliseconds. A GET is answered at once, with how many POSTs came and the
seconds from the first of them to the last; a DELETE begins anew.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CONTENT_LENGTH = b"content-length:"


class Tally:
    """When POSTs came."""

    def __init__(self) -> None:
        self.count, self.first_at, self.last_at = 0, 0.0, 0.0

    def add(self) -> None:
        self.last_at = time.monotonic()
        self.first_at = self.last_at if not self.count else self.first_at
        self.count += 1


class Receiver(asyncio.Protocol):
    """One connection."""

    tally = Tally()

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next()) is not None:
            if request.startswith(b"POST"):
                self.tally.add()
                asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, ANSWER)
                continue
            if request.startswith(b"DELETE"):
                Receiver.tally = Tally()
            told = f"{self.tally.count} {self.tally.last_at - self.tally.first_at}".encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))

    def _next(self) -> bytes | None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        place = head.lower().find(CONTENT_LENGTH)
        length = int(head[place + len(CONTENT_LENGTH) :].split(b"\r\n")[0]) if place >= 0 else 0
        if len(rest) < length:
            return None
        self._received = rest[length:]
        return head


async def serve(port: int, delay_s: float) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(delay_s), "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]) / 1000))
