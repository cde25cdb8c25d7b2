"""A part of a Markdown file that is made, between two comments."""

from __future__ import annotations


def replaced(text: str, name: str, made: str) -> str:
    """Return `text` with `made` as its part of that name. Raises ValueError where it has no such part."""
    begin, end = f"<!-- {name}: made by `make map` -->\n", f"<!-- end of the {name} -->\n"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"there is no place for what is made: {begin.strip()} ... {end.strip()}")
    return f"{before}{begin}\n{made}\n{end}{after}"
