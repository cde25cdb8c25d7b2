"""What the benchmark of reading executes: outputs of about 200 bytes that do not compress, some inputs fail."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from actions import ActionError, action


class Company(BaseModel):
    n: int
    text: str
    copies: int = 1
    fails: bool = False


class Profile(BaseModel):
    n: int
    text: str
    country: str
    is_known: bool


@action("profile", batch_size=500)
def profile(input: Company) -> Iterator[Profile]:
    """Give so many copies of the input back."""
    if input.fails:
        raise ActionError("NO_COMPANY", "There is no such company.")
    for _ in range(input.copies):
        yield Profile(n=input.n, text=input.text, country="FR", is_known=True)
