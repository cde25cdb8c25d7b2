"""RQ's job."""

from __future__ import annotations

from typing import Any


def echo(input: dict[str, Any]) -> dict[str, Any]:
    """Give the input back."""
    return input
