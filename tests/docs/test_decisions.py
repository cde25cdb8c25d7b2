"""Each decision says what was rejected and what it costs, and the list has them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import markdown

FOLDER = markdown.PROJECT / "docs" / "decisions"
FILES = sorted(FOLDER.glob("0*.md"))
HEADINGS = ["Decision", "Why", "Rejected", "Costs"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_decision_says(file: Path) -> None:
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", file.read_text(), re.DOTALL | re.MULTILINE))
    assert list(sections) == HEADINGS
    assert len(re.findall(r"^- \*\*", sections["Rejected"], re.MULTILINE)) >= 2
    assert all(section.strip() for section in sections.values())


def test_the_list_has_them_all() -> None:
    listed = re.findall(r"^- \[(\d{4})\]\((\1-[\w-]+\.md)\) (.+)$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert [name for _, name, _ in listed] == [file.name for file in FILES]
    assert [number for number, *_ in listed] == [f"{n + 1:04}" for n in range(len(FILES))]
    for number, name, title in listed:
        assert (FOLDER / name).read_text().startswith(f"# {number} {title}\n")
