"""Each promise of SECURITY.md names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[a-z_/0-9]+\.py)(?:::(test_[a-z_0-9]+))?`")


def names_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def promises() -> list[str]:
    return [
        line
        for line in (ROOT / "SECURITY.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| promise ", "| --- "))
    ]


def test_every_promise_names_its_tests() -> None:
    assert len(promises()) > 20
    assert [line for line in promises() if not NAMED.search(line)] == []


def test_every_test_that_is_named_is_there() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in NAMED.findall("\n".join(promises()))
        if not (ROOT / file).exists() or (name and name not in names_in(ROOT / file))
    ]
    assert missing == []
