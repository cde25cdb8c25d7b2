from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actions import ActionDefinitionError, registry

ACTION = """
from actions import ActionError, action

@action("{name}")
def {function}(input: dict) -> dict:
    return input
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Writes modules that can be imported while the test lasts."""
    names = []

    def write(name: str, text: str) -> Path:
        names.append(name)
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        importlib.invalidate_caches()
        return path

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in names:
        sys.modules.pop(name, None)


Write = Callable[[str, str], Path]


def told(modules: list[str]) -> str:
    with pytest.raises(ActionDefinitionError) as caught:
        registry.load(modules)
    return str(caught.value)


def test_built_in_and_named_modules_are_loaded(module: Write) -> None:
    module("first_actions", ACTION.format(name="first", function="first"))
    module("second_actions", ACTION.format(name="second", function="second"))
    registry.load(["first_actions", " second_actions"])
    assert {"first", "second", "inspect-url"} <= set(registry.names())
    assert registry.names() == sorted(registry.names())
    assert [definition.name for definition in registry.all_actions()] == registry.names()
    assert registry.get("no-such-action") is None


def test_loading_again_is_no_second_action(module: Write) -> None:
    module("first_actions", ACTION.format(name="first", function="first"))
    registry.load(["first_actions"])
    known = registry.get("first")
    importlib.reload(sys.modules["first_actions"])
    assert registry.get("first") is not known
    registry.load(["first_actions", "first_actions"])


def test_two_actions_of_one_name_are_told_with_their_places(module: Write) -> None:
    first = module("first_actions", ACTION.format(name="same", function="one"))
    second = module("second_actions", "\n" + ACTION.format(name="same", function="two"))
    assert told(["first_actions", "second_actions"]) == (
        f"Two actions are called 'same': first_actions.one ({first}:4) and second_actions.two ({second}:5)."
        " Rename one of them."
    )


def test_two_of_one_name_in_one_module_too(module: Write) -> None:
    text = ACTION.format(name="same", function="one")
    module("first_actions", text + text)
    assert told(["first_actions"]).startswith("Two actions are called 'same'")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("broken_syntax", "def (", "SyntaxError"),
        ("broken_import", "import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("broken_at_import", "1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_cannot_be_imported(module: Write, name: str, text: str, reason: str) -> None:
    module(name, text)
    message = told([name])
    assert message.startswith(f"RUNYARD_ACTIONS names the module '{name}', which cannot be imported: ")
    assert reason in message


def test_a_module_that_is_not_there() -> None:
    assert told(["no_such_module"]).endswith("Is the directory that holds it on PYTHONPATH?")


def test_a_reserved_label_stops_the_start(module: Write) -> None:
    raising = ACTION.format(name="first", function="first") + '    raise ActionError("WORKER_LOST", "x")\n'
    module("first_actions", raising)
    module("importing", "import first_actions")
    assert told(["importing"]).startswith("first_actions, line 7: the label 'WORKER_LOST' is one of Runyard's own")


def test_actions_can_be_imported_without_django() -> None:
    code = "import actions, actions.builtin.inspect_url, sys; assert 'django.db.models' not in sys.modules"
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
