"""The list of calls has every path and method of the URL map, and no other; its lists have all filters and sorts."""

from __future__ import annotations

import re

import pytest
from django.urls import URLPattern, get_resolver

from runs.filters import RunFilters
from runs.views import RunList
from schedules.filters import ScheduleFilters
from tests.docs import markdown

TEXT = (markdown.PROJECT / "docs" / "api.md").read_text()
PAGES = {"admin", "docs"}
"""What is for people, and has more addresses than are worth telling."""


def told() -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for cell in re.findall(r"^\| (`[A-Z]+ /.*?) \|", TEXT, re.MULTILINE):
        method, base = "", ""
        for part in re.findall(r"`([^`]+)`", cell):
            verb, _, path = part.rpartition(" ")
            method = verb or method
            base = path if verb else f"{base.rpartition('/')[0]}{path}"
            found.add((method, base.strip("/")))
    return found


def answered() -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for pattern in get_resolver().url_patterns:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern)).strip("/")
        view = getattr(getattr(pattern, "callback", None), "view_class", None)
        if not isinstance(pattern, URLPattern) or view is None or not path.startswith("v1/"):
            found.add(("GET", path))
            continue
        methods = {name.upper() for name in ("get", "post", "patch", "put", "delete") if hasattr(view, name)}
        found |= {(method, path) for method in methods}
    return found


def test_every_call_is_told() -> None:
    ours = {(method, path) for method, path in answered() if path.partition("/")[0] not in PAGES}
    assert ours - told() == set()


def test_no_other_call_is_told() -> None:
    assert {(method, path) for method, path in told() if path not in PAGES} - answered() == set()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/runs", {*RunFilters.parameters(), *RunList.sort_fields}),
        ("/v1/schedules", {*ScheduleFilters.parameters(), "created_at"}),
    ],
)
def test_filters_and_sorts_are_told(path: str, names: set[str]) -> None:
    (row,) = re.findall(rf"^\| `{path}` \|(.*)$", TEXT, re.MULTILINE)
    assert set(re.findall(r"`([a-z_]+)`", row)) == names
