"""Which actions there are: filled by `@action` when a module is imported, read by everyone else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

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
    if known is not None and _source(known.function) != _source(definition.function):
        raise ActionDefinitionError(
            f"Two actions are called {definition.name!r}: {place(known.function)} and {place(definition.function)}."
            " Rename one of them."
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
        ActionDefinitionError: a module cannot be imported, or an action's module makes errors with a label that it
            may not use.
    """
    for module in pkgutil.iter_modules(builtin.__path__, f"{builtin.__name__}."):
        importlib.import_module(module.name)
    named = [name.strip() for name in modules]
    for name in named:
        _import(name)
    for name in {*named, *(definition.function.__module__ for definition in all_actions())}:
        _check_labels(name)


def place(function: Callable[..., Any]) -> str:
    """Return where a function stands, for messages: `my_actions.enrich_company (/srv/my_actions.py:12)`."""
    file, line = _source(function)
    return f"{function.__module__}.{function.__qualname__} ({file}:{line})"


def _source(function: Callable[..., Any]) -> tuple[str, int]:
    code = inspect.unwrap(function).__code__
    return code.co_filename, code.co_firstlineno


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ActionDefinitionError:
        raise
    except (Exception, SystemExit) as error:
        hint = " Is the directory that holds it on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) else ""
        raise ActionDefinitionError(
            f"RUNYARD_ACTIONS names the module {name!r}, which cannot be imported:"
            f" {type(error).__name__}: {error}.{hint}"
        ) from error


def _check_labels(module_name: str) -> None:
    module = sys.modules.get(module_name)
    try:
        source = inspect.getsource(module) if module else ""
    except (OSError, TypeError):  # no text to look at: made on the fly, or compiled
        return
    for line, reason in misused_labels(source):
        raise ActionDefinitionError(f"{module_name}, line {line}: {reason}.")
