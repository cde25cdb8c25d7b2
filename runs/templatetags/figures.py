"""Numbers as the admin writes them."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def grouped(number: int) -> str:
    """Write a whole number: "12,345"."""
    return f"{number:,}"


@register.filter
def a_second(number: float) -> str:
    """Write a rate to about three digits: "1,234/s", "12.3/s", "0.05/s"."""
    digits = 0 if number >= 100 else 1 if number >= 1 else 2
    return f"{number:,.{digits}f}/s"
