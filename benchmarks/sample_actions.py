"""The action that benchmarks call: it does nothing, so that what is measured is all the rest."""

from __future__ import annotations

from pydantic import BaseModel

from actions import action


class Echo(BaseModel):
    text: str


@action("echo")
def echo(input: Echo) -> Echo:
    """Give the input back."""
    return input
