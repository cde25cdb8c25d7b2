"""What came back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """An answer, whatever its status.

    `headers` are as received; `body` is decompressed if that was asked for; `truncated` says that there was more of it
    than `body` holds. `url` is the one that answered, `redirects` those before it, in order.
    """

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    truncated: bool
    url: str
    redirects: tuple[str, ...] = ()

    def header(self, name: str) -> str | None:
        """Return a header's first value, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)
