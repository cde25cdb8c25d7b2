"""What the Markdown files point to is there: files, headings, make targets, modules and functions."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.docs import markdown

ROOMS = ("config", "schedules", "runs", "actions", "webhooks", "workspaces", "rest", "egress", "devstack")
FILES = markdown.files()
IDS = [str(file.relative_to(markdown.PROJECT)) for file in FILES]
CODE = re.compile(r"`([^`\n]+)`")
MAKE = re.compile(r"(?:^ {4}|`)make ([a-z-]+)\b", re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_links_lead_somewhere(file: Path) -> None:
    for link in markdown.links(file.read_text()):
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), f"{file.name} links to {link}"
        if anchor:
            assert anchor in markdown.anchors(target.read_text()), f"{file.name} links to {link}"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_make_targets_exist(file: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (markdown.PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert set(MAKE.findall(file.read_text())) <= set(targets)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_code_it_names_exists(file: Path) -> None:
    """`runs/dispatch.py` is a file, `runs.dispatch.claim` an attribute of a module, `tests/a.py::test_b` a test.

    Other names are not looked at.
    """
    for name in CODE.findall(markdown.prose(file.read_text())):
        path, _, test = name.partition("::")
        if test and path.endswith(".py"):
            assert f"def {test}(" in (markdown.PROJECT / path).read_text(), f"{file.name} names {name}"
        elif re.fullmatch(rf"(?:{'|'.join(ROOMS)}|tests)/[\w/]*(?:\.py)?", name):
            assert (markdown.PROJECT / name).exists(), f"{file.name} names {name}"
        elif re.fullmatch(rf"(?:{'|'.join(ROOMS)})(?:\.\w+)+", name):
            assert _resolves(name), f"{file.name} names {name}"


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            if not hasattr(found, attribute) and attribute not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, attribute, None)
        return True
    return False
