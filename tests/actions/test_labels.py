from __future__ import annotations

from actions.labels import misused_labels


def test_bad_labels_are_found_in_the_text_of_a_module() -> None:
    source = """
import actions
from actions import ActionError

def helper(kind):
    if kind == 1:
        raise ActionError("TIMEOUT", "x")
    if kind == 2:
        raise actions.ActionError(label="not a label", message="x")
    if kind == 3:
        raise ActionError("FINE", "TIMEOUT")
    raise ActionError(kind, "computed")

def other():
    print("TIMEOUT", ValueError("TIMEOUT"), ActionError)
"""
    found = misused_labels(source)
    assert [line for line, _ in found] == [7, 9]
    assert "'TIMEOUT' is one of Runyard's own: choose another, say MY_TIMEOUT" in found[0][1]
    assert "'not a label' must be 1 to 64 of A-Z" in found[1][1]
