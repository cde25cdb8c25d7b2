"""The guide to the built-in actions names every field, default and label of each, and no other; its examples fit.

No example sends credentials: an input is stored, and shown to the whole workspace.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from actions import ActionDefinition, registry
from tests.docs import markdown

TEXT = (markdown.PROJECT / "docs" / "builtin-actions.md").read_text()
SECTIONS = dict(re.findall(r"^## `([a-z-]+)`\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
NAMES = re.compile(r"`([A-Za-z0-9_]+)`")
CREDENTIALS = re.compile(r"authorization|bearer|cookie|api-?key|token|password|secret", re.IGNORECASE)
MEANT = "Its labels are those of `fetch-page`."


def rows(name: str, kind: str) -> list[list[str]]:
    """Return the rows of the table whose first heading is `kind`."""
    found: list[list[str]] = []
    is_in = False
    for line in SECTIONS[name].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            is_in = False
        elif cells[0] == kind:
            is_in = True
        elif is_in and not cells[0].startswith("---"):
            found.append(cells)
    return found


def named(name: str, kind: str) -> set[str]:
    return {one for cells in rows(name, kind) for one in NAMES.findall(cells[0])}


def builtin() -> dict[str, ActionDefinition]:
    found = {one.name: one for one in registry.all_actions() if one.function.__module__.startswith("actions.builtin.")}
    assert found
    return found


def fields(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: told for name, told in schema["properties"].items() if name != "max_results"}


def test_every_built_in_action_has_a_section() -> None:
    assert set(SECTIONS) == set(builtin())


@pytest.mark.parametrize("name", SECTIONS)
def test_fields_and_labels(name: str) -> None:
    action = builtin()[name]
    assert named(name, "input") == set(fields(action.input_schema))
    assert named(name, "parameter") == set(fields(action.parameters_schema))
    assert named(name, "output") == set(fields(action.output_schema))
    assert named("fetch-page" if MEANT in SECTIONS[name] else name, "label") == set(action.errors)


@pytest.mark.parametrize("name", SECTIONS)
def test_defaults(name: str) -> None:
    told: dict[str, Any] = {}
    for first, defaults, _ in rows(name, "parameter"):
        values = [json.loads(value) for value in re.findall(r"`([^`]+)`", defaults)]
        told |= dict(zip(NAMES.findall(first), values, strict=True))
    assert told == {field: about["default"] for field, about in fields(builtin()[name].parameters_schema).items()}


@pytest.mark.parametrize("name", SECTIONS)
def test_examples(name: str) -> None:
    action = builtin()[name]
    (command, output) = markdown.blocks(SECTIONS[name])
    assert f"/v1/actions/{name}/" in command.text
    body = json.loads(command.text.partition("-d '")[2].rstrip().removesuffix("'"))
    for given in body.get("inputs") or [body["input"]]:
        assert action.check_input(json.dumps(given).encode()) is None
    assert action.check_parameters(body.get("parameters", {})) is None
    assert not CREDENTIALS.search(command.text.partition("-d '")[2])
    example = json.loads(output.text)
    assert list(example) == list(fields(action.output_schema))
    assert json.loads(action.dump_output(example, max_bytes=10_000)) == example


def test_the_example_that_needs_no_network_is_what_is_answered() -> None:
    action = builtin()["inspect-url"]
    (command, output) = markdown.blocks(SECTIONS["inspect-url"])
    given = json.loads(command.text.partition("-d '")[2].rstrip().removesuffix("'"))["input"]
    found = action(action.load_input(json.dumps(given).encode()), parameters=action.load_parameters({}))
    assert json.loads(action.dump_output(found, max_bytes=10_000)) == json.loads(output.text)
