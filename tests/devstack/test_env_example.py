"""`.env.example` lists what the code reads, with the same defaults."""

from __future__ import annotations

import ast
import re
from itertools import pairwise

import pytest

from devstack.home import PROJECT

# Their defaults depend on others.
COMPUTED = {
    "RUNYARD_RUNS_CONCURRENCY",
    "RUNYARD_MAX_LIVE_CALLS",
    "RUNYARD_MAX_LIVE_CALLS_PER_WORKSPACE",
    "RUNYARD_ACTIONS_ALLOW_PRIVATE",
    "RUNYARD_PROXIES",
}


def listed() -> dict[str, str]:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def read_by_settings() -> dict[str, ast.expr | None]:
    """The variables that config/ reads, with the node of the default."""
    found: dict[str, ast.expr | None] = {}
    for path in (PROJECT / "config").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="env"))
                    | ast.Attribute(value=ast.Attribute(attr="environ"), attr="get")
                    | ast.Name(id="at_least" | "at_least_or_off" | "between" | "flag" | "one_of" | "rate" | "required"),
                    args=[ast.Constant(value=str(name)), *rest],
                ) if re.fullmatch(r"[A-Z][A-Z0-9_]+", name):
                    named = [keyword.value for keyword in node.keywords if keyword.arg == "default"]
                    found[name] = (named or rest or [None])[0]
    return found


def text_of(default: ast.expr) -> str:
    value = eval(compile(ast.Expression(default), "settings", "eval"), {"__builtins__": {}})
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def test_every_variable_of_the_settings_is_listed() -> None:
    read = read_by_settings()
    assert "DATABASE_URL" in read
    assert set(read) - set(listed()) == set()


@pytest.mark.parametrize("file", ["Procfile", "compose.yaml"])
def test_every_variable_of_the_procfile_and_of_compose_is_listed(file: str) -> None:
    found = re.findall(r"\$\{([A-Z_]+)(?::-([^}]*)|:[?][^}]*)?}", (PROJECT / file).read_text())
    assert found
    lists = listed()
    for name, default in found:
        assert name in lists
        assert default in ("", lists[name]) or name in COMPUTED, name


def test_nothing_is_listed_that_nothing_reads() -> None:
    places = [
        path for glob in ("Procfile", "compose.yaml", "config/*.py", "devstack/*.py") for path in PROJECT.glob(glob)
    ]
    code = "\n".join(place.read_text() for place in places)
    assert {name for name in listed() if name not in code} == set()


def test_the_defaults_are_those_of_the_settings() -> None:
    required = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"}
    lists = listed()
    for name, default in read_by_settings().items():
        if name not in required | COMPUTED and default is not None:
            assert lists.get(name) == text_of(default), name


def test_each_has_one_line_of_explanation() -> None:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    for above, line in pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert above.startswith("# "), line
