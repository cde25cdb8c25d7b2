"""What the documents draw of the code is what the code is: `make map` draws it anew."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from docs.site import import_map, lifecycle
from runs.lifecycle import TRANSITIONS
from tests.docs import markdown

STALE = "run `make map`"


def test_the_picture_of_the_lifecycle_is_drawn_from_its_table() -> None:
    drawn = lifecycle.draw(lifecycle.transitions())
    assert lifecycle.PICTURE.read_text() == drawn, STALE
    root = ElementTree.fromstring(drawn)
    names = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text") if one.get("class") == "name"]
    assert sorted(names) == sorted(TRANSITIONS)


def test_each_transition_is_one_arrow() -> None:
    arrows = lifecycle.drawn_by(lifecycle.ARROWS)
    assert set(arrows) == {(one.value, to.value) for one, targets in TRANSITIONS.items() for to in targets}
    assert set(arrows.values()) == {1}


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [({"SUCCEEDED": ("SCHEDULED",)}, "place in ARROWS: .*SUCCEEDED"), ({"STOPPED": ()}, "take away: .*STOPPED")],
)
def test_another_table_is_not_drawn_wrongly(changed: dict[str, tuple[str, ...]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        lifecycle.draw(lifecycle.transitions() | changed)


def test_the_table_of_transitions_is_the_codes() -> None:
    assert lifecycle.PAGE.read_text() == lifecycle.made(lifecycle.transitions()), STALE


def test_the_import_map_is_what_is_imported() -> None:
    assert import_map.PAGE.read_text() == import_map.made(), STALE


def test_the_picture_of_the_rooms_has_them_all() -> None:
    rooms, _ = (block.text for block in markdown.blocks(import_map.PAGE.read_text()))
    named = re.findall(r"\b([a-z]+)/", rooms)
    assert named == [*(room for layer in import_map.layers() for room in layer), "devstack"]
