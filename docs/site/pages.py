"""What turns the project's Markdown into the pages of the site, as hooks of MkDocs.

The files are written to be read where they lie. So files beside docs/ become pages or texts of the site, links between
files become links between pages, drawings are put into their pages, where they follow the reader's choice of light or
dark, the first page shows how the README begins, and `decisions/*` in the navigation stands for all of them.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

PROJECT = Path(__file__).resolve().parents[2]
PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Files beside docs/ that are pages of the site."""

INSTEAD = {"README.md": "index.md"}
"""Files that the site has another page for."""

TEXTS = ("Procfile", ".env.example", "LICENSE")
"""Files that pages link to and that are shown as they are."""

FENCE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?\)")
SECTION = re.compile(r"^<!-- README\.md: (.+) -->$", re.MULTILINE)
DRAWING = re.compile(r"^!\[([^\]]*)\]\(([^)]+\.svg)\)$", re.MULTILINE)


def on_config(config: Any) -> None:
    """Let `decisions/*` in the navigation stand for the pages of that folder."""
    for section in config["nav"]:
        for pages in section.values():
            if "decisions/*" in pages:
                at = pages.index("decisions/*")
                found = sorted(one.name for one in (PROJECT / "docs" / "decisions").glob("0*.md"))
                pages[at : at + 1] = [{"Decisions": [f"decisions/{name}" for name in ["README.md", *found]]}]


def on_files(files: Any, config: Any) -> None:
    """Add what lies beside docs/."""
    for source, page in PAGES.items():
        if (PROJECT / source).exists():
            files.append(File.generated(config, page, abs_src_path=str(PROJECT / source)))
    for source in TEXTS:
        files.append(File.generated(config, _text(source), abs_src_path=str(PROJECT / source)))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links between files of the project to pages of the site, and put drawings in their place."""
    here = page.file.src_uri
    source = next((file for file, uri in PAGES.items() if uri == here), f"docs/{here}")
    parts = FENCE.split(SECTION.sub(_section, markdown))
    for at in range(0, len(parts), 2):
        parts[at] = LINK.sub(lambda link: _relinked(link, source, here), DRAWING.sub(_drawn, parts[at]))
    return "".join(parts)


def _section(place: re.Match[str]) -> str:
    """A section of the README, heading and all, which the first page shows too."""
    _, found, rest = (PROJECT / "README.md").read_text().partition(f"## {place[1]}\n")
    if not found:
        raise ValueError(f"README.md has no section {place[1]!r}")
    return found + rest.partition("\n## ")[0]


def _text(source: str) -> str:
    return f"files/{source.lstrip('.').replace('.', '-')}.txt"


def _relinked(link: re.Match[str], source: str, here: str) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
    known = {**PAGES, **INSTEAD, **{name: _text(name) for name in TEXTS}}
    uri = known.get(target) or target.removeprefix("docs/")
    return f"{link[1]}{posixpath.relpath(uri, posixpath.dirname(here) or '.')}{link[3] or ''})"


def _drawn(image: re.Match[str]) -> str:
    drawing = PROJECT / "docs" / "images" / Path(image[2]).name
    return f'<div class="drawing">{drawing.read_text().strip()}</div>' if drawing.exists() else image[0]
