"""The guide tells the truth: its Python runs as the files it names, its JSON is what is answered."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from actions import ActionDefinitionError, ActionError, Context, action, registry
from actions.catalogue import Entry
from actions.models import Action
from actions.options import Options
from actions.output import OutputLimits
from actions.serializers import ActionSerializer
from rest.errors import stored_error

GUIDE = Path(__file__).parents[2] / "docs" / "writing-actions.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The guide's files, written down and loaded as `RUNYARD_ACTIONS` loads them."""
    files: dict[str, str] = {}
    for text in blocks("python"):
        name = text.partition("\n")[0].removeprefix("# ").removesuffix(".py")
        files[name] = files.get(name, "") + text
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    registry.load(["my_actions"])
    yield {name: importlib.import_module(name) for name in files}
    for name in files:
        sys.modules.pop(name, None)


def test_its_actions_are_in_the_registry(guide: dict[str, ModuleType]) -> None:
    declared = set(re.findall(r'@action\(\s*"([a-z-]+)"', "".join(blocks("python"))))
    assert declared
    assert declared <= set(registry.names())


def test_its_tests_pass(guide: dict[str, ModuleType]) -> None:
    tests = [value for name, value in vars(guide["test_my_actions"]).items() if name.startswith("test_")]
    assert len(tests) == 4
    for test in tests:
        test()


async def _call(definition: Any, line: bytes, parameters: dict[str, Any]) -> list[bytes]:
    loaded = definition.load_input(line), definition.load_parameters(parameters), Context(run_uid="a-test")
    value = definition.call(*loaded)
    if definition.output_kind == "many":
        limits = OutputLimits(max_items=100, max_bytes_each=1_000, max_bytes_total=10_000)
        return await definition.dump_outputs_async(value, limits)
    return [definition.dump_output(await value if inspect.isawaitable(value) else value, max_bytes=1_000)]


@pytest.mark.parametrize(
    ("name", "line", "parameters", "lines"),
    [
        ("check-iban", b'{"iban": "de00"}', {}, [b'{"iban":"DE00","country":"DE","is_valid":false}']),
        ("format-amount", b'{"cents": 123456}', {}, [b'{"text":"1,234.56 EUR"}']),
        ("convert-amount", b'{"cents": 123456}', {"digits": 1}, [b'{"amount":1234.6}']),
        (
            "list-working-days",
            b'{"first": "2024-03-01", "last": "2024-03-04"}',
            {},
            [b'{"date":"2024-03-01","weekday":"Friday"}', b'{"date":"2024-03-04","weekday":"Monday"}'],
        ),
        ("find-addresses", b'{"name": "127.0.0.1"}', {}, [b'"127.0.0.1"']),
        ("reverse-lookup", b'{"name": "127.0.0.1"}', {}, None),
    ],
)
def test_its_actions_answer(
    guide: dict[str, ModuleType], name: str, line: bytes, parameters: dict[str, Any], lines: list[bytes] | None
) -> None:
    found = asyncio.run(_call(registry.get(name), line, parameters))
    assert found == lines if lines is not None else json.loads(found[0])["name"]


def test_the_catalogue_entry_it_shows(guide: dict[str, ModuleType]) -> None:
    shown = json.loads(blocks("json")[0])
    definition = registry.get("check-iban")
    assert definition
    entry = ActionSerializer(Entry(definition, Action(id=1, name=definition.name))).data
    assert {name: entry[name] for name in shown} == shown


def test_the_error_it_shows(guide: dict[str, ModuleType]) -> None:
    shown = json.loads(blocks("json")[1])
    module = guide["my_actions"]
    with pytest.raises(ActionError) as caught:
        module.find_addresses(module.Host(name="no such host"), context=Context(run_uid="a-test"))
    error = caught.value
    stored = stored_error(error.label, error.message, scope="action", params=error.params)
    assert {name: stored[name] for name in shown} == shown


def test_what_the_caller_of_the_third_input_reads(guide: dict[str, ModuleType]) -> None:
    problems = guide["my_actions"].check_iban.check_input(b'{"ibann": "typo"}')
    assert problems == [{"field": "iban", "reason": "Field required"}]
    assert "`iban: Field required`" in GUIDE.read_text()


def test_its_table_names_every_option() -> None:
    table = re.findall(r"^\| (`.*?`) \|", GUIDE.read_text(), re.MULTILINE)
    named = [name for row in table for name in re.findall(r"`(\w+)`", row)]
    assert named == [*Options.__annotations__]


def test_the_message_it_shows(guide: dict[str, ModuleType]) -> None:
    shown = " ".join(blocks("text")[0].split())
    with pytest.raises(ActionDefinitionError) as caught:

        @action("check-iban-again")
        def check_iban(input):
            return input

    assert str(caught.value).partition("): ")[2] == shown.partition("): ")[2]
