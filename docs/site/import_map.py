"""Writes the import map of ARCHITECTURE.md from the imports that are there: `make map`.

Rooms stand as their layers do, the highest first. A cell says how many modules of the room on the left import from the
one above; a dot, that they might and do not. Where there may be no imports it is empty, so all stands in one corner.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import grimp

from docs.site.marked import replaced

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "ARCHITECTURE.md"
NAME_WIDTH, CELL_WIDTH = 13, 5


def layers() -> list[list[str]]:
    """Return the rooms as the contract in pyproject.toml lists them, the highest layer first."""
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (one["layers"] for one in contracts if one["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in found]


def counts(rooms: list[str]) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Return how many modules each room has, but for its migrations, and how many of one import from another."""
    graph = grimp.build_graph(*rooms)
    ours = [module for module in graph.modules if ".migrations" not in module]
    pairs = {(module, _room(found)) for module in ours for found in graph.find_modules_directly_imported_by(module)}
    return Counter(map(_room, ours)), Counter((_room(module), room) for module, room in pairs if _room(module) != room)


def _room(module: str) -> str:
    return module.partition(".")[0]


def draw(layers: list[list[str]], modules: Counter[str], imports: Counter[tuple[str, str]]) -> str:
    """Return the map as text: a row for each room, with a bar for its modules."""
    rooms = [room for layer in layers for room in layer]
    lines = []
    for at, column in enumerate(rooms[1:]):
        bars = f"{'│':>{CELL_WIDTH}}" * at
        lines.append(f"{'':{NAME_WIDTH}}{bars}{'┌':>{CELL_WIDTH}} {column}")
    for depth, layer in enumerate(layers):
        below = {room for lower in layers[depth + 1 :] for room in lower}
        for room in layer:
            cells = "".join(
                f"{imports[room, column] or ('·' if column in below else ''):>{CELL_WIDTH}}" for column in rooms[1:]
            )
            lines.append(f"{room:{NAME_WIDTH}}{cells}   {modules[room]:>3} modules {'▪' * round(modules[room] / 4)}")
    return "\n".join(lines) + "\n"


def made() -> str:
    """Return ARCHITECTURE.md with the map of what is imported now."""
    found = layers()
    drawn = draw(found, *counts([room for layer in found for room in layer]))
    return replaced(PAGE.read_text(), "import map", f"```text\n{drawn}```\n")


def main() -> None:
    PAGE.write_text(made())
    print(f"{PAGE} has the map of what is imported.")


if __name__ == "__main__":
    main()
