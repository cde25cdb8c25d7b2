"""How long a page may keep a worker busy: the parser as estimated before, the reading of its links as measured.

The parser compares each attribute with those before it in its tag, and many a tag with all that it stands in. People's
pages cost it milliseconds; one that was made for it, of a megabyte, minutes in which nothing can stop it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from actions.builtin.page_text import BLOCKS

MAX_TAGS = 100_000
MAX_COMPARISONS = 1_000_000_000
"""A few seconds at worst."""
MAX_LINKS_CPU_S = 2.0
"""Of the thread's own time. 10,000 links that people make take 0.3 s; a `<base>` of 8,000 characters can make each
cost milliseconds."""
ALWAYS_QUICK_LENGTH = 100_000
"""Characters that have no room for so many."""

LOOK_AROUND = BLOCKS | {"html", "body"}
# They stand in nothing, or end where the next of their kind begins.
DO_NOT_NEST = frozenset(
    {"area", "base", "br", "col", "colgroup", "dd", "dt", "embed", "hr", "img", "input", "li", "link", "meta"}
    | {"optgroup", "option", "p", "param", "rp", "rt", "source", "tbody", "td", "tfoot", "th", "thead", "tr", "wbr"}
)


def comparisons(html: str) -> int:
    """Return about how many comparisons the parser will make.

    Rather more than less, but a page may deceive this: then the action's time limit ends it, and its process.
    """
    total = depth = 0
    opened: Counter[str] = Counter()
    for name, attributes in _tags(html):
        total += attributes**2
        is_end = name.startswith("/")
        name = name.removeprefix("/")
        if is_end and opened[name]:
            opened[name] -= 1
            depth -= 1
        elif is_end or name in LOOK_AROUND:
            total += depth
        if not is_end and name not in DO_NOT_NEST:
            opened[name] += 1
            depth += 1
    return total


def _tags(html: str) -> Iterator[tuple[str, int]]:
    """Yield name and number of attributes of what may be tags; the names of end tags begin with a slash.

    A tag goes from a `<` to a `>`, and on where quotes are open. Attributes begin after a space, a slash or a quote.
    """
    name, attributes, double, single = "", 0, 0, 0
    for piece in html.split("<")[1:]:
        tag, end, _ = piece.partition(">")
        if not name:
            name = _name(tag)
        if not name:
            continue
        goes_on = not end or (double + tag.count('"')) % 2 or (single + tag.count("'")) % 2
        text = piece if goes_on else tag
        double, single = double + text.count('"'), single + text.count("'")
        attributes += len(text.split()) + text.count("/")
        if not goes_on:
            yield name, attributes + (double + single) // 2
            name, attributes, double, single = "", 0, 0, 0
    if name:
        yield name, attributes + (double + single) // 2


def _name(tag: str) -> str:
    """Return the name that a tag begins with, in lower case; "" for comments, and for a `<` in the midst of text."""
    words = tag[:40].split(None, 1)
    if not words or tag[:1].isspace():
        return ""
    slash, name = ("/", words[0][1:]) if words[0].startswith("/") else ("", words[0])
    name = name.partition("/")[0].lower()
    return slash + name if name.isascii() and name.replace("-", "").isalnum() else ""
