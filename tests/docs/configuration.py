"""The table of docs/configuration.md, made of `.env.example`. `python -m tests.docs.configuration` writes it anew."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.docs.markdown import PROJECT

EXAMPLE = PROJECT / ".env.example"
GUIDE = PROJECT / "docs" / "configuration.md"
BEGIN, END = "<!-- made of .env.example -->\n", "<!-- end -->\n"


class Variable(NamedTuple):
    name: str
    default: str
    about: str


def variables() -> dict[str, list[Variable]]:
    """Return the variables below each heading of `.env.example`."""
    found: dict[str, list[Variable]] = {}
    comment: list[str] = []
    for line in EXAMPLE.read_text().splitlines():
        if heading := re.fullmatch(r"# --- (.*?):? -+", line):
            section = found.setdefault(heading[1], [])
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        else:
            if line:
                name, _, default = line.partition("=")
                section.append(Variable(name, default, " ".join(comment)))
            comment = []
    return found


def tables() -> str:
    """Return the variables as Markdown."""
    written = []
    for heading, listed in variables().items():
        rows = [f"| `{one.name}` | {f'`{one.default}`' if one.default else ''} | {one.about} |" for one in listed]
        written.append("\n".join([f"## {heading}", "", "| variable | default | |", "| --- | --- | --- |", *rows, ""]))
    return "\n".join(written)


def with_tables(guide: str) -> str:
    """Return the guide with the tables as they should be."""
    before, _, rest = guide.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    GUIDE.write_text(with_tables(GUIDE.read_text()))
