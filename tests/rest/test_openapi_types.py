"""From types to the schemas of the document."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from drf_spectacular.plumbing import ComponentRegistry
from typing_extensions import TypedDict

from rest.one_of import OneOf
from rest.openapi_types import NamedSchema, pascal, schema_of
from rest.strict import StrictBody, read_strictly


class Colour(Enum):
    """For those who read the code."""

    RED = "red"
    BLUE = "blue"


class Paint(TypedDict):
    """What was painted."""

    colour: Annotated[str, OneOf(Colour)]
    before: Annotated[str, OneOf(Colour)] | None


class RepaintingBody(StrictBody):
    """What to change."""

    null_is_absent: ClassVar = False

    colour: Literal["red", "blue"] = "red"


class PaintBody(StrictBody):
    """What to paint."""

    never_null: ClassVar = frozenset({"where"})

    what: str
    colour: Literal["red"] = "red"
    """In which colour."""
    where: str = "inside"


def _told(kind: Any, *, direction: Any = "answered") -> tuple[Any, dict[str, Any]]:
    registry = ComponentRegistry()
    schema = schema_of(kind, registry, direction=direction)
    return schema, registry.build({}).get("schemas", {})


def test_an_answer_is_a_reference_to_a_component() -> None:
    schema, components = _told(Paint)
    assert schema == {"$ref": "#/components/schemas/Paint"}
    assert components["Paint"]["required"] == ["colour", "before"]
    assert components["Paint"]["properties"]["colour"] == {"$ref": "#/components/schemas/Colour"}
    assert components["Colour"] == {"enum": ["red", "blue"], "type": "string"}


def test_a_list_is_an_array_of_references() -> None:
    assert _told(list[Paint])[0] == {"type": "array", "items": {"$ref": "#/components/schemas/Paint"}}


def test_any_is_any() -> None:
    assert _told(Any) == ({}, {})


def test_a_body_says_where_null_is_as_good_as_nothing() -> None:
    """As `read_strictly` has it."""
    _, components = _told(PaintBody, direction="taken")
    body = components["PaintBody"]
    assert body["required"] == ["what"]
    assert body["additionalProperties"] is False
    assert body["properties"]["what"] == {"type": "string"}
    assert body["properties"]["where"] == {"type": "string", "default": "inside"}
    assert body["properties"]["colour"]["anyOf"][1] == {"type": "null"}
    assert body["properties"]["colour"]["description"] == "In which colour."
    assert read_strictly({"what": "wall", "colour": None}, PaintBody, "paint").colour == "red"


def test_what_a_change_leaves_out_has_no_default() -> None:
    """A client made from the document would send it, and so change it."""
    _, components = _told(RepaintingBody, direction="taken")
    assert components["RepaintingBody"]["properties"]["colour"] == {"enum": ["red", "blue"], "type": "string"}


def test_two_components_of_one_name_are_refused() -> None:
    registry = ComponentRegistry()
    schema_of(NamedSchema("Paint", {"type": "string"}), registry, direction="answered")
    schema_of(NamedSchema("Paint", {"type": "string"}), registry, direction="answered")
    with pytest.raises(ValueError, match="Two components are called Paint"):
        schema_of(NamedSchema("Paint", {"type": "integer"}), registry, direction="answered")


def test_names_of_actions_stay_apart() -> None:
    names = ["ab-c", "a-bc", "abc", "a-b-c", "page-2", "page2", "pa-ge2", "page-2-b", "page-2b"]
    assert len({pascal(name) for name in names}) == len(names)
    assert pascal("enrich-company") == "EnrichCompany"
