"""Text of strangers as a terminal may show it: its escape sequences move cursors, hide lines and set titles."""

from __future__ import annotations


def shown_in_terminal(text: str, *, keep: str = "") -> str:
    r"""Return `text` with what is not printable written as Python writes it, `\x1b`; but for characters to `keep`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else repr(one)[1:-1] for one in text)
