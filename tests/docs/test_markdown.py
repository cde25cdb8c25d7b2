"""What the Markdown files point to is there: files, headings, make targets, modules and functions."""

from __future__ import annotations

import importlib
import re

from tests.docs import markdown

ROOMS = ("config", "schedules", "runs", "actions", "webhooks", "workspaces", "rest", "egress", "devstack")
FILES = markdown.files()
CODE = re.compile(r"`([^`\n]+)`")
MAKE = re.compile(r"(?:^ {4}|`)make ([a-z-]+)\b", re.MULTILINE)


def test_links_lead_somewhere() -> None:
    wrong = []
    for file in FILES:
        for link in markdown.links(file.read_text()):
            path, _, anchor = link.partition("#")
            target = (file.parent / path).resolve() if path else file
            if not target.exists() or (anchor and anchor not in markdown.anchors(target.read_text())):
                wrong.append(f"{file.name} links to {link}")
    assert wrong == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (markdown.PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = {file.name: set(MAKE.findall(file.read_text())) for file in FILES}
    assert {name: makes for name, makes in named.items() if not makes <= targets} == {}


def test_code_it_names_exists() -> None:
    """`runs/dispatch.py` is a file, `runs.dispatch.claim` an attribute of a module, `tests/a.py::test_b` a test.

    Other names are not looked at.
    """
    named = {name: file for file in FILES for name in CODE.findall(markdown.prose(file.read_text()))}
    assert [f"{file.name} names {name}" for name, file in named.items() if not _is_there(name)] == []


def _is_there(name: str) -> bool:
    path, _, test = name.partition("::")
    if test and path.endswith(".py"):
        return f"def {test}(" in (markdown.PROJECT / path).read_text()
    if re.fullmatch(rf"(?:{'|'.join(ROOMS)}|tests)/[\w/]*(?:\.py)?", name):
        return (markdown.PROJECT / name).exists()
    return not re.fullmatch(rf"(?:{'|'.join(ROOMS)})(?:\.\w+)+", name) or _resolves(name)


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
