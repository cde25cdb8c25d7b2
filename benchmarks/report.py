"""What a benchmark says: printed, and put where docs/performance.md has a place for it."""

from __future__ import annotations

import os
import platform
import statistics
import textwrap
import time
from collections.abc import Sequence

from benchmarks.rounds import Measured, ratio, shown, spread
from devstack.home import PROJECT

WIDTH = 120  # of a line of the documents
PAGE = PROJECT / "docs" / "performance.md"


class Report:
    """The Markdown of one benchmark, added to piece by piece."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._began = time.strftime("%Y-%m-%d")
        self._load = os.getloadavg()[0]
        self._parts: list[str] = []

    def say(self, text: str) -> None:
        """Add a paragraph."""
        self._add(textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False))

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; every column but the first is one of figures."""
        lines = [" | ".join(heads), " | ".join(["---"] + ["---:"] * (len(heads) - 1))]
        lines += [" | ".join(str(cell) for cell in row) for row in rows]
        self._add("\n".join(f"| {line} |" for line in lines))

    def compare(self, measured: Measured, *, unit: str, to: str, what: str = "") -> None:
        """Add a table of contestants: median, spread, and how many times the one named `to` each is."""
        rows = [
            (name, shown(statistics.median(values)), spread(values), "1" if name == to else ratio(values, measured[to]))
            for name, values in measured.items()
        ]
        self.table((what, f"{unit}, median", "lowest to highest", f"times {to}"), rows)

    def write(self) -> None:
        """Put all of it between this benchmark's marks in docs/performance.md, with the machine and its load.

        Raises:
            SystemExit: the page has no place for it.
        """
        begin, end = f"<!-- benchmark: {self.name} -->", f"<!-- end: {self.name} -->"
        page = PAGE.read_text()
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise SystemExit(f"{PAGE.name} has no place for {self.name}: {begin} ... {end}")
        loads = f"{self._load:.1f} before, {os.getloadavg()[0]:.1f} after"
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}; load {loads}; {self._began}"
        told = "\n\n".join([*self._parts, f"*{machine}.*"])
        PAGE.write_text(f"{before}{begin}\n\n{told}\n\n{end}{after}")

    def _add(self, text: str) -> None:
        print(text, end="\n\n", flush=True)
        self._parts.append(text)
