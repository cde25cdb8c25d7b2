"""Which actions there are: filled by `@action` when a module is imported, read by everyone else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from actions import builtin
from actions.exceptions import ActionDefinitionError
from actions.labels import misused_labels

if TYPE_CHECKING:
    from actions.definition import ActionDefinition

_definitions: dict[str, ActionDefinition] = {}


def register(definition: ActionDefinition) -> None:
    """Add `definition`. The same function again (its module imported twice) takes the place of the first.

    Raises:
        ActionDefinitionError: another function has the name; the message says where both stand.
    """
    known = _definitions.get(definition.name)
    if known is not None and known.where.partition(" ")[2] != definition.where.partition(" ")[2]:
        raise ActionDefinitionError(
            f"Two actions are called {definition.name!r}: {known.where} and {definition.where}. Rename one."
        )
    _definitions[definition.name] = definition


def get(name: str) -> ActionDefinition | None:
    """Return the action called `name`, None when this process has none."""
    return _definitions.get(name)


def names() -> list[str]:
    """Return the names of all actions, sorted."""
    return sorted(_definitions)


def all_actions() -> list[ActionDefinition]:
    """Return all actions, by name."""
    return [_definitions[name] for name in names()]


def load(modules: Iterable[str]) -> None:
    """Import the built-in actions and `modules`, the dotted names of `RUNYARD_ACTIONS`.

    Raises:
        ActionDefinitionError: a module cannot be imported, or raises errors with a label it may not use.
    """
    for module in pkgutil.iter_modules(builtin.__path__, "actions.builtin."):
        importlib.import_module(module.name)
    for name in modules:
        _check_labels(_imported(name))


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ActionDefinitionError:
        raise
    except Exception as error:
        raise ActionDefinitionError(
            f"RUNYARD_ACTIONS names the module {name!r}, which cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _check_labels(module: ModuleType) -> None:
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        return
    for line, reason in misused_labels(source):
        raise ActionDefinitionError(f"{module.__file__}:{line}: {reason}.")
