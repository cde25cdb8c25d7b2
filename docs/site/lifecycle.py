"""Draws the lifecycle of a run from the table that decides it, and writes that down in docs/statuses.md: `make map`.

Where things stand is said here by hand. What is drawn is `runs.lifecycle.TRANSITIONS`, each transition by exactly one
arrow: where the table and the arrows differ, nothing is drawn, and the error says what to place.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import product
from pathlib import Path
from typing import NamedTuple

from docs.site.marked import replaced

DOCS = Path(__file__).resolve().parents[1]
PICTURE, PAGE = DOCS / "images" / "lifecycle.svg", DOCS / "statuses.md"
WIDTH, HEIGHT, BOX_HEIGHT, RADIUS = 780, 552, 44, 10

BOXES = {
    "CREATED": (390, 46, 124),
    "BLOCKED": (230, 176, 124),
    "QUEUED": (390, 176, 124),
    "SCHEDULED": (550, 176, 124),
    "RUNNING": (390, 306, 124),
    "INVALID": (75, 450, 110),
    "SUCCEEDED": (232, 450, 116),
    "PARTIAL_SUCCEEDED": (385, 450, 158),
    "FAILED": (540, 450, 120),
    "STOPPED": (695, 450, 116),
}
"""Where each status stands: the middle of its box, and its width."""

WAITING = ("BLOCKED", "QUEUED", "SCHEDULED")
ENDED = ("SUCCEEDED", "PARTIAL_SUCCEEDED", "FAILED")
RESUMABLE = ("PARTIAL_SUCCEEDED", "FAILED", "STOPPED")
GROUPS = {"waits": (150, 118, 480, 104), "has ended": (162, 408, 450, 84)}
"""What surrounds the statuses that share an arrow: left, top, width, height."""

Points = tuple[tuple[int, int], ...]


class Label(NamedTuple):
    """What makes it happen, from (x, y) on or, `is_before` it, up to there."""

    text: str
    x: int
    y: int
    is_before: bool = False


class Arrow(NamedTuple):
    """One or several transitions: from each of `sources` to each of `targets`, and back where it points both ways."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    points: Points
    kind: str = "often"
    label: Label | None = None
    is_both_ways: bool = False
    stubs: tuple[Points, ...] = ()


ARROWS = (
    Arrow(("CREATED",), WAITING, ((390, 68), (390, 118)), "main", Label("launched", 382, 98, True)),
    Arrow(("SCHEDULED",), ("QUEUED",), ((488, 184), (452, 184)), "main"),
    Arrow(("QUEUED",), ("RUNNING",), ((390, 198), (390, 284)), "main", Label("a worker claims it", 382, 252, True)),
    Arrow(("RUNNING",), ENDED, ((390, 328), (390, 408)), "main", Label("every input has a result", 398, 366)),
    Arrow(("QUEUED",), ("BLOCKED",), ((328, 184), (292, 184)), is_both_ways=True),
    Arrow(("SCHEDULED",), ("BLOCKED",), ((550, 154), (550, 138), (230, 138), (230, 154)), is_both_ways=True),
    Arrow(
        ("RUNNING",), ("BLOCKED",), ((328, 306), (262, 306), (262, 198)), "often", Label("limits", 254, 252, True),
        is_both_ways=True,
    ),
    Arrow(
        ("RUNNING",), ("SCHEDULED",), ((452, 296), (530, 296), (530, 198)), "often", Label("retry", 522, 286, True)
    ),
    Arrow(("BLOCKED",), ENDED, ((196, 198), (196, 408)), "seldom"),
    Arrow(WAITING, ("INVALID",), ((150, 176), (95, 176), (95, 428)), "often", Label("cannot run", 103, 320)),
    Arrow(("CREATED",), ("INVALID",), ((328, 46), (50, 46), (50, 428)), "often"),
    Arrow(("CREATED",), ("STOPPED",), ((452, 38), (735, 38), (735, 428)), "seldom"),
    Arrow(WAITING, ("STOPPED",), ((630, 206), (705, 206), (705, 428)), "often"),
    Arrow(("RUNNING",), ("STOPPED",), ((452, 318), (675, 318), (675, 428)), "often", Label("cancel", 586, 312)),
    Arrow(
        ("CREATED",), ("RUNNING",), ((424, 68), (424, 92), (470, 92), (470, 264), (428, 264), (428, 284)), "seldom"
    ),
    Arrow(("CREATED",), ("FAILED",), ((452, 54), (652, 54), (652, 384), (588, 384), (588, 428)), "seldom"),
    Arrow(("QUEUED",), ("FAILED",), ((424, 198), (424, 230), (572, 230), (572, 428)), "seldom"),
    Arrow(
        RESUMABLE, ("SCHEDULED",), ((385, 472), (385, 522), (766, 522), (766, 168), (612, 168)), "often",
        Label("resume", 758, 540, True), stubs=(((540, 472), (540, 522)), ((695, 472), (695, 522))),
    ),
)  # fmt: skip

STYLE = """
svg.lifecycle{--ink:#1c2733;--quiet:#5b6b7a;--line:#8896a3;--paper:#fff;--ground:#f1f5f8;--main:#0b6aa8;
--page:#fff;--good:#1a7f4b;--mixed:#9a6b00;--bad:#b3342d;--stop:#6b4fa0;
font:13px system-ui,-apple-system,"Segoe UI",sans-serif}
@media (prefers-color-scheme:dark){svg.lifecycle{--ink:#e6edf3;--quiet:#a3b1be;--line:#75838f;--paper:#161d26;
--ground:#1d2732;--main:#7cc4f5;--page:#10161e;--good:#5fd39a;--mixed:#e3b553;--bad:#ff8f87;--stop:#c0a8f0}}
[data-md-color-scheme=default] svg.lifecycle{--page:none;--ink:#1c2733;--quiet:#5b6b7a;--line:#8896a3;--paper:#fff;
--ground:#f1f5f8;--main:#0b6aa8;--good:#1a7f4b;--mixed:#9a6b00;--bad:#b3342d;--stop:#6b4fa0}
[data-md-color-scheme=slate] svg.lifecycle{--page:none;--ink:#e6edf3;--quiet:#a3b1be;--line:#75838f;--paper:#161d26;
--ground:#1d2732;--main:#7cc4f5;--good:#5fd39a;--mixed:#e3b553;--bad:#ff8f87;--stop:#c0a8f0}
.lifecycle .box{fill:var(--paper);stroke:var(--ink);stroke-width:1.5}
.lifecycle .inner{fill:none;stroke:var(--ink);stroke-width:1}
.lifecycle .name{fill:var(--ink);text-anchor:middle;font:600 12.5px ui-monospace,SFMono-Regular,Menlo,monospace}
.lifecycle .group{fill:var(--ground);stroke:var(--line);stroke-dasharray:2 3}
.lifecycle .said,.lifecycle .of-group{fill:var(--quiet)}.lifecycle .page{fill:var(--page)}
.lifecycle .end{text-anchor:end}
.lifecycle path{fill:none;stroke:var(--line);stroke-width:1.6}
.lifecycle path.main{stroke:var(--main);stroke-width:2.5}
.lifecycle path.seldom{stroke-width:1.2;stroke-dasharray:4 4}
.lifecycle .head{fill:var(--line);stroke:none}.lifecycle .head.main{fill:var(--main)}
.lifecycle .RUNNING{stroke:var(--main);stroke-width:2.5}.lifecycle .SUCCEEDED{stroke:var(--good)}
.lifecycle .PARTIAL_SUCCEEDED{stroke:var(--mixed)}.lifecycle .FAILED,.lifecycle .INVALID{stroke:var(--bad)}
.lifecycle .STOPPED{stroke:var(--stop)}
""".strip()
"""Colours by the reader's system where the file is looked at by itself, and by the choice on the site where it is in a
page of it."""


def transitions() -> dict[str, tuple[str, ...]]:
    """Return the table: what may follow what, in the order of the statuses."""
    from runs.lifecycle import TRANSITIONS
    from runs.models import RunStatus

    return {one.value: tuple(to.value for to in RunStatus if to in TRANSITIONS[one]) for one in RunStatus}


def drawn_by(arrows: tuple[Arrow, ...]) -> Counter[tuple[str, str]]:
    """Return the transitions that arrows stand for, and how often each is drawn."""
    found: Counter[tuple[str, str]] = Counter()
    for arrow in arrows:
        found.update(product(arrow.sources, arrow.targets))
        if arrow.is_both_ways:
            found.update(product(arrow.targets, arrow.sources))
    return found


def draw(table: dict[str, tuple[str, ...]]) -> str:
    """Return the drawing as SVG. Raises ValueError where its arrows are not the table's transitions."""
    meant = Counter((source, target) for source, targets in table.items() for target in targets)
    drawn = drawn_by(ARROWS)
    if meant != drawn:
        raise ValueError(f"place in ARROWS: {sorted(meant - drawn)}; take away: {sorted(drawn - meant)}")
    told = " ".join(f"{one}: {', '.join(to) if to else 'nothing'}." for one, to in table.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lifecycle" viewBox="0 12 {WIDTH} {HEIGHT - 12}"',
        'role="img" aria-labelledby="lifecycle-title lifecycle-told">',
        '<title id="lifecycle-title">The lifecycle of a run</title>',
        f'<desc id="lifecycle-told">What may follow what. {told}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" y="12" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        *(_group(name, *place) for name, place in GROUPS.items()),
        *(_arrow(one) for one in sorted(ARROWS, key=lambda one: one.kind, reverse=True)),
        *(_box(name, is_final=not table[name]) for name in table),
        *(_label(one.label) for one in ARROWS if one.label),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _group(name: str, x: int, y: int, width: int, height: int) -> str:
    return (
        f'<rect class="group" x="{x}" y="{y}" width="{width}" height="{height}" rx="12"/>'
        f'<text class="of-group" x="{x + 12}" y="{y + 16}">{name}</text>'
    )


def _box(name: str, *, is_final: bool) -> str:
    """A status; with a second line around it where nothing follows."""
    x, y, width = BOXES[name]
    left, top = x - width // 2, y - BOX_HEIGHT // 2
    box = f'<rect class="box {name}" x="{left}" y="{top}" width="{width}" height="{BOX_HEIGHT}" rx="8"/>'
    if is_final:
        box += (
            f'<rect class="inner {name}" x="{left + 4}" y="{top + 4}" width="{width - 8}" height="{BOX_HEIGHT - 8}" '
            'rx="5"/>'
        )
    return f'{box}<text class="name" x="{x}" y="{y + 5}">{name}</text>'


def _arrow(arrow: Arrow) -> str:
    drawn = "".join(f'<path class="{arrow.kind}" d="{_rounded(one)}"/>' for one in (arrow.points, *arrow.stubs))
    heads = [_head(arrow.points[-2], arrow.points[-1], arrow.kind)]
    if arrow.is_both_ways:
        heads.append(_head(arrow.points[1], arrow.points[0], arrow.kind))
    return drawn + "".join(heads)


def _rounded(points: Points) -> str:
    """A line along points, with round corners."""
    path = [f"M{points[0][0]} {points[0][1]}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _towards(corner, before), _towards(corner, after)
        path.append(f"L{x1} {y1}Q{corner[0]} {corner[1]} {x2} {y2}")
    return "".join([*path, f"L{points[-1][0]} {points[-1][1]}"])


def _towards(corner: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return corner[0] + _clipped(other[0] - corner[0]), corner[1] + _clipped(other[1] - corner[1])


def _clipped(distance: int) -> int:
    return max(-RADIUS, min(RADIUS, distance // 2))


def _head(start: tuple[int, int], end: tuple[int, int], kind: str) -> str:
    (x, y), dx, dy = end, (end[0] > start[0]) - (end[0] < start[0]), (end[1] > start[1]) - (end[1] < start[1])
    corners = ((x, y), (x - 9 * dx - 5 * dy, y - 9 * dy - 5 * dx), (x - 9 * dx + 5 * dy, y - 9 * dy + 5 * dx))
    return f'<polygon class="head {kind}" points="{" ".join(f"{a},{b}" for a, b in corners)}"/>'


def _label(label: Label) -> str:
    return f'<text class="{"said end" if label.is_before else "said"}" x="{label.x}" y="{label.y}">{label.text}</text>'


def made(table: dict[str, tuple[str, ...]]) -> str:
    """Return docs/statuses.md with the table."""
    rows = (f"| `{one}` | {', '.join(f'`{to}`' for to in targets) or 'nothing'} |\n" for one, targets in table.items())
    return replaced(PAGE.read_text(), "transitions", f"| from | to |\n| --- | --- |\n{''.join(rows)}")


def main() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    table = transitions()
    PICTURE.write_text(draw(table))
    PAGE.write_text(made(table))
    print(f"{PICTURE} and {PAGE} have the table of transitions.")


if __name__ == "__main__":
    main()
