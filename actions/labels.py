"""The labels of an action's own errors: their form, and the ones Runyard keeps for itself."""

from __future__ import annotations

import ast
import re

from rest.errors import RESERVED_LABELS

LABEL = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)


def check_label(label: object) -> str:
    """Return `label`.

    Raises:
        ValueError: it is malformed, or one of Runyard's own (contract section 0).
    """
    if not isinstance(label, str) or not LABEL.fullmatch(label):
        raise ValueError(f"the label {label!r} must be 1 to 64 of A-Z, 0-9 and _, and begin with a letter")
    if label in RESERVED_LABELS:
        raise ValueError(f"the label {label!r} is one of Runyard's own: choose another, say MY_{label}")
    return label


def misused_labels(source: str) -> list[tuple[int, str]]:
    """Return `(line number, what is wrong)` for each `ActionError("LABEL", ...)` in `source` with a bad label.

    Reads the text only: a label that is computed is checked when the error is raised.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _names_action_error(node.func):
            label = _written_label(node)
            if label is not None:
                try:
                    check_label(label)
                except ValueError as error:
                    found.append((node.lineno, str(error)))
    return sorted(found)


def _names_action_error(function: ast.expr) -> bool:
    match function:
        case ast.Name(id="ActionError") | ast.Attribute(attr="ActionError"):
            return True
    return False


def _written_label(call: ast.Call) -> str | None:
    """Return the label of a call, when it stands in the code as text."""
    arguments = call.args[:1] or [keyword.value for keyword in call.keywords if keyword.arg == "label"]
    match arguments:
        case [ast.Constant(value=str(label))]:
            return label
    return None
